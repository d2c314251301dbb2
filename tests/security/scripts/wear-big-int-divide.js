// Divides BigInts of millions of bits.
// expect: one of timed_out, out_of_memory
const a = (1n << 30_000_000n) - 1n, b = (1n << 15_000_000n) - 3n;
for (;;) a / b;
