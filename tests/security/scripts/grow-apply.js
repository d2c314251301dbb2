// Calls with an array-like of the greatest length.
// expect: failed script_error /RangeError/
// limits: heap=16
Math.max.apply(null, { length: 2 ** 32 - 1 })
