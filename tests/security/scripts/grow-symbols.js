// Keeps symbols with long descriptions.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
const all = [];
for (let i = 0; ; i++) all.push(Symbol('x'.repeat(1000) + i + Math.random()));
