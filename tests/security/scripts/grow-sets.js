// Fills sets with their own unions.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
let set = new Set([0]);
for (let i = 1; ; i++) { set.add(i); if (i % 1000 === 0) set = set.union(new Set(Array.from(set, n => -n - i))); }
