// Times under labels of a megabyte.
// expect: completed "went on"
// limits: heap=64 timeout=20
for (let i = 0; i < 5000; i++) console.time('x'.repeat(1 << 20) + i);
'went on'
