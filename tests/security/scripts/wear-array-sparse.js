// Walks an array of four billion holes.
// expect: one of timed_out, out_of_memory
const holes = [];
holes.length = 2 ** 32 - 1;
for (;;) { holes.indexOf(1); holes.forEach(() => {}); holes.reverse(); }
