// Sets timers until it may set no more, then more.
// expect: failed script_error /RangeError: setTimeout: 100000 timers are pending/
// limits: timeout=10 heap=128
for (;;) setTimeout(() => {}, 1e6);
