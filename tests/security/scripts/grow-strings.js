// Keeps texts that share nothing.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
const all = [];
for (let i = 0; ; i++) all.push(('x'.repeat(1e5) + i).split('').reverse().join(''));
