// Raises a BigInt to ever higher powers.
// expect: one of timed_out, script_error, out_of_memory
let n = 3n;
for (;;) n = (n ** 7n) % (1n << 4_000_000n) + 3n;
