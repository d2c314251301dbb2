// Fills timers with arguments, which V8 does not see.
// expect: one of out_of_memory, timed_out, script_error
// limits: timeout=10
for (;;) setTimeout(() => {}, 1e6, ...new Array(60_000));
