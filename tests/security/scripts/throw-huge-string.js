// Throws a text of a quarter gigabyte.
// expect: failed script_error /^Uncaught "x{1000}/
// limits: heap=512 timeout=10
throw 'x'.repeat(2 ** 28)
