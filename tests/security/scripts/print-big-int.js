// Prints and returns a BigInt of thirty million bits.
// expect: completed /BigInt of \d+ bits/
// output: /BigInt of/
// limits: heap=64 timeout=10
const n = (1n << 30_000_000n) - 1n;
console.log(n, [n]);
n
