// Evaluates ever new tagged templates, which V8 keeps.
// expect: one of out_of_memory, timed_out
// limits: heap=16 timeout=10
const tag = strings => strings, all = [];
for (let i = 0; ; i++) all.push(eval('tag`' + i + '`'));
