// Makes WebAssembly memories without end.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
const all = [];
for (;;) all.push(new WebAssembly.Memory({ initial: 1000 }));
