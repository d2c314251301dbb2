// Prints a hundred thousand arguments.
// expect: completed "100000"
// output: /^(x ){1000}/
// limits: heap=64 timeout=10
const many = new Array(1e5).fill('x');
console.log(...many);
many.length
