// Prints an object a hundred thousand deep and gives it as the result.
// expect: completed /…/
// output: /…/
// limits: heap=64 timeout=10
let deep = [];
for (let i = 0; i < 1e5; i++) deep = i % 2 ? { deep } : [deep];
console.log(deep);
deep
