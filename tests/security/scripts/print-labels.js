// Counts and times under a million labels.
// expect: completed "went on"
// output: /^label0: 1\n/
// limits: heap=64 timeout=30
for (let i = 0; i < 1e6; i++) { console.time('label' + i); console.count('label' + i); console.countReset('other' + i); console.timeEnd('none'); }
console.count('x'.repeat(1 << 20));
'went on'
