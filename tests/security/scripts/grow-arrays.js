// Nests arrays.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
let all = [];
for (;;) all = [all, new Array(1000).fill(0)];
