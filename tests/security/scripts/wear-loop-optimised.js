// Loops in code that the optimising compiler has seen.
// expect: failed timed_out /^Execution timed out$/
function add(a, b) { return (a + b) | 0; }
let sum = 0;
for (let i = 0; ; i = (i + 1) | 0) sum = add(sum, i);
