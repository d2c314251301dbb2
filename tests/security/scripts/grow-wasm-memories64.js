// Makes WebAssembly memories of 64 bits without end.
// expect: one of out_of_memory, script_error
// limits: heap=64 timeout=10
const all = [];
for (;;) all.push(new WebAssembly.Memory({ address: 'i64', initial: 1n, maximum: 100n }));
