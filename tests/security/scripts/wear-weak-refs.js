// Makes weak references and ephemerons in rings.
// expect: one of timed_out, out_of_memory
const map = new WeakMap();
let key = {};
for (;;) { const next = {}; map.set(key, next); new WeakRef(next); key = next; }
