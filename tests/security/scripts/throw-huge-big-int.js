// Throws a BigInt of millions of digits.
// expect: failed script_error /BigInt of \d+ bits/
// limits: heap=64 timeout=10
throw (1n << 30_000_000n) - 1n
