// Keeps buffers of a mebibyte.
// expect: failed script_error /RangeError: Array buffer allocation failed/
// limits: heap=16 timeout=10
const all = [];
for (;;) all.push(new ArrayBuffer(1 << 20));
