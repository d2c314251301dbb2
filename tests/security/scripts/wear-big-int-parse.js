// Parses a BigInt of five million digits and writes it with base three.
// expect: one of completed, timed_out, script_error
// limits: heap=64 timeout=2
BigInt('7'.repeat(5e6)).toString(3).length
