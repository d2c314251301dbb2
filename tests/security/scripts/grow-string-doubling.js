// Doubles a text.
// expect: failed script_error /RangeError: Invalid string length/
// limits: heap=16 timeout=10
let text = 'x';
for (;;) text += text;
