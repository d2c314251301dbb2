// Spreads a hundred million arguments.
// expect: one of script_error, out_of_memory
// limits: heap=16 timeout=10
Math.max(...new Array(1e8))
