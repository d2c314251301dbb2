// Loops.
// expect: failed timed_out /^Execution timed out$/
while (true) {}
