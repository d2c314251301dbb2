// Pauses for ever.
// expect: failed timed_out /^Execution timed out$/
for (;;) Atomics.pause();
