// Keeps buffers, catches each refusal and asks again.
// expect: one of timed_out, out_of_memory
// limits: heap=16
const all = [];
for (;;) { try { for (;;) all.push(new Uint8Array(1 << 16).fill(1)); } catch {} }
