// Opens a million groups and prints in them.
// expect: completed "went on"
// output: /^ +deep\n +deeper\nflat\n$/
// limits: heap=64 timeout=30
for (let i = 0; i < 1e6; i++) console.group();
console.log('deep\ndeeper');
for (let i = 0; i < 2e6; i++) console.groupEnd();
console.log('flat');
'went on'
