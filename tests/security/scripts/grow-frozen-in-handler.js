// Fills the heap, then fills it again while the first end is being handled.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
const all = [];
const eat = () => { for (;;) all.push(new Array(100).fill(0)); };
try { eat(); } finally { setTimeout(eat); queueMicrotask(eat); Promise.resolve().then(eat); eat(); }
