// Prints functions of megabytes of source.
// expect: completed "went on"
// output: /true\n$/
// limits: heap=128 timeout=10
const f = new Function('/*' + 'x'.repeat(1e7) + '*/ return 1');
console.log(f, class { static x = f }, f.toString().length > 1e7);
'went on'
