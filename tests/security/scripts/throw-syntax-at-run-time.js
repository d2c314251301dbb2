// Fails to parse at run time, with a source that is long.
// expect: failed script_error /^SyntaxError/
// limits: heap=256 timeout=10
eval('x'.repeat(1e7) + ' ' + 'y'.repeat(1e7))
