// Pushes without end, also in handlers.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
const all = [];
for (;;) { try { for (;;) all.push({}); } catch { all.push(1); } finally { all.push(2); } }
