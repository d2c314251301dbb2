// Changes what is being printed, from the one method that runs.
// expect: completed "went on"
// output: /\n$/
const list = Array.from({ length: 100 }, (_, i) => ({ i, toJSON() { list.length = 0; map.clear(); delete object['k' + i]; return i; } }));
const map = new Map(list.map(one => [one, one])), object = Object.fromEntries(list.map((one, i) => ['k' + i, one]));
console.log(list);
list.push(...Object.values(object));
console.log(map, object, list);
'went on'
