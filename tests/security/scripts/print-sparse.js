// Prints arrays of holes and the greatest lengths.
// expect: completed "went on"
// output: /./
const holes = [1];
holes[2 ** 32 - 2] = 2;
console.log(holes, new Array(2 ** 32 - 1), { length: 2 ** 53 }, Object.assign([], { '-1': 1, 4294967295: 2 }));
'went on'
