// Asks for a buffer of many gibibytes.
// expect: failed script_error /RangeError: Array buffer allocation failed/
// limits: heap=16
new ArrayBuffer(64 * 1024 ** 3)
