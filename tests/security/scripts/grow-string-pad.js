// Pads a text to the greatest length and joins many of them.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
const long = ''.padEnd(2 ** 28, 'ab');
new Array(64).fill(long).join(long)
