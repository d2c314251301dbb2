// Writes a BigInt of a million digits in decimal, over and over.
// expect: failed timed_out /^Execution timed out$/
const n = 7n ** 1_200_000n;
for (;;) n.toString();
