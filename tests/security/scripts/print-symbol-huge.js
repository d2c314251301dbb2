// Prints a symbol with a description of a quarter gigabyte.
// expect: completed "went on"
// output: /^Symbol\(x{1000}/
// limits: heap=512 timeout=10
console.log(Symbol('x'.repeat(2 ** 28)));
'went on'
