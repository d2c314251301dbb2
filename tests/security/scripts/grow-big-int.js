// Squares a BigInt.
// expect: one of script_error, out_of_memory
// limits: heap=16 timeout=10
let n = 3n;
for (;;) n *= n;
