// Throws an error with a message of megabytes.
// expect: failed script_error /^Error: x{1000}/
// limits: heap=512 timeout=10
throw new Error('x'.repeat(1 << 26))
