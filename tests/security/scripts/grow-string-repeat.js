// Repeats a text past what a text may be.
// expect: failed script_error /RangeError: Invalid string length/
// limits: heap=16
'x'.repeat(2 ** 29)
