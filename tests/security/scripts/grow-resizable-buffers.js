// Makes many resizable buffers and touches all of their memory.
// expect: one of script_error, out_of_memory
// limits: heap=16 timeout=10
const all = [];
for (;;) { const buffer = new ArrayBuffer(0, { maxByteLength: 1 << 24 }); buffer.resize(1 << 24); new Uint8Array(buffer).fill(1); all.push(buffer); }
