// Makes WebAssembly tables of ten million.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
const all = [];
for (;;) all.push(new WebAssembly.Table({ initial: 10_000_000, element: 'externref' }));
