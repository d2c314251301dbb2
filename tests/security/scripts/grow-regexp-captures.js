// Nests groups of a regular expression without end.
// expect: failed script_error /(SyntaxError: Invalid regular expression|RangeError)/
// limits: heap=64 timeout=10
new RegExp('('.repeat(1e6) + ')'.repeat(1e6)).test('a')
