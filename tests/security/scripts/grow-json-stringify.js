// Writes a value that is many times as long as it is large.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=20
let list = ['x'.repeat(1e6)];
for (let i = 0; i < 20; i++) list = [list, list, list];
JSON.stringify(list).length
