// Fills an array of a thousand million.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
new Array(1e9).fill(0)
