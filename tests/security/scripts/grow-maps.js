// Fills a map.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
const map = new Map();
for (let i = 0; ; i++) map.set(i, { i });
