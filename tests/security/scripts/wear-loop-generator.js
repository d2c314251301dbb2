// Loops in a generator and in the consumer of another.
// expect: failed timed_out /^Execution timed out$/
function* forever() { try { for (;;) yield 1; } finally { for (;;); } }
for (const one of forever()) one;
