// Makes one line many by groups and newlines.
// expect: completed "went on"
// output: /the script went on\]\n$/
// limits: heap=64 timeout=10
for (let i = 0; i < 1000; i++) console.group();
console.log('\n'.repeat(1e6));
'went on'
