// Recurses through fifty thousand awaits.
// expect: failed script_error /RangeError: Maximum call stack size exceeded/
// limits: heap=64 timeout=10
async function dive(n) { if (n) return await dive(n - 1); throw new Error('bottom'); }
await dive(50_000)
