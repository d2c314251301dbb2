// Sorts with a comparator that contradicts itself and changes the array.
// expect: failed timed_out /^Execution timed out$/
const a = Array.from({ length: 1e5 }, (_, i) => i);
for (;;) a.sort(() => { a.length = 1e5; return Math.random() - 0.5; });
