// Awaits for ever.
// expect: failed timed_out /^Execution timed out$/
for (;;) await null;
