// Gives every object a toJSON, as accessor and as proxy: neither runs.
// expect: completed "{\"a\":1}"
// output: /^\{"a":1\} 0\n1\n$/
let ran = 0;
Object.defineProperty(Object.prototype, 'toJSON', { get() { ran++; throw new Error('accessor'); }, configurable: true });
console.log({ a: 1 }, ran);
delete Object.prototype.toJSON;
const shown = { a: 1, __proto__: { toJSON: new Proxy(() => { for (;;); }, {}) } };
console.log(Object.keys(shown).length);
export default { a: 1 };
