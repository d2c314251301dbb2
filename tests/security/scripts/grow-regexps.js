// Keeps compiled regular expressions.
// expect: one of out_of_memory, script_error, timed_out
// limits: heap=16 timeout=10
const all = [];
for (let i = 0; ; i++) { const one = new RegExp(('(a' + i + '|b)*').repeat(20)); one.test('aab'); all.push(one); }
