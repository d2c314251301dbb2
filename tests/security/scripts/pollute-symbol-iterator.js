// Takes iteration away from arrays, maps, sets and strings.
// expect: completed "[1,2]"
// output: /^\S.* text\n$/
const log = console.log;
for (const type of [Array, Map, Set, String]) type.prototype[Symbol.iterator] = () => { throw new Error('iterator'); };
Object.getPrototypeOf(Object.getPrototypeOf((function* () {})())).next = () => { throw new Error('next'); };
log(new Map(), new Set(), 'text');
const result = new Array(1, 2);
result
