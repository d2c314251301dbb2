// Prints a hundred megabytes of characters that take three bytes each.
// expect: completed "went on"
// output: /^€{1000}€*\n.*the script went on\]\n$/
// limits: heap=512 timeout=10
console.log('€'.repeat(1e8));
'went on'
