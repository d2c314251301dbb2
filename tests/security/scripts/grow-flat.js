// Flattens an array that contains itself.
// expect: one of script_error, out_of_memory
// limits: heap=16 timeout=10
const ring = [];
ring.push(ring, ring);
ring.flat(Infinity)
