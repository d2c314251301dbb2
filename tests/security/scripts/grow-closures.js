// Keeps closures over large frames.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
const all = [];
for (;;) { const held = new Array(1000).fill(all.length); all.push(() => held); }
