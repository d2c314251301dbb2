// Resizes one buffer past all memory.
// expect: failed script_error /RangeError/
// limits: heap=16 timeout=10
const buffer = new ArrayBuffer(1, { maxByteLength: 2 ** 36 });
for (let bytes = 2; ; bytes *= 2) buffer.resize(bytes);
