// Prints a table of a million rows.
// expect: completed "went on"
// output: /^\[\{"a":1\},/
// limits: heap=64 timeout=10
console.table(new Array(1e6).fill({ a: 1 }));
'went on'
