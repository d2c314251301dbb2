// Keeps short slices of long texts.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
const all = [];
for (;;) all.push('abcdefghijklmnopqrst'.repeat(1e5).slice(1, 20));
