// Prints a hundred megabytes at once.
// expect: completed "went on"
// output: /^x{1000}x*\n.*the script went on\]\n$/
// limits: heap=256 timeout=10
console.log('x'.repeat(100 * 1024 * 1024));
'went on'
