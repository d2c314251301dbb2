// Fills the stack of the regular expression engine.
// expect: failed script_error /RangeError: Maximum call stack size exceeded/
// limits: heap=64 timeout=10
/(?:(a)|b|c)*$/.test('ab'.repeat(1e7) + 'd')
