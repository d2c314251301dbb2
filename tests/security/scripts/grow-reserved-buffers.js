// Reserves address space by resizable buffers that hold nothing.
// expect: one of script_error, out_of_memory, timed_out
// limits: heap=16 timeout=4
const all = [];
for (;;) all.push(new ArrayBuffer(0, { maxByteLength: 2 ** 36 }));
