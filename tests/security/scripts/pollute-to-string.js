// Makes conversion to text throw, loop and return what is no text.
// expect: completed "{\"a\":1}"
// output: /^\{"a":1\} .*Symbol\(s\)/
const log = console.log;
Object.prototype.toString = Function.prototype.toString = Symbol.prototype.toString = () => { for (;;); };
Object.prototype.valueOf = () => ({});
Object.prototype[Symbol.toPrimitive] = () => { throw new Error('primitive'); };
log({ a: 1 }, () => {}, Symbol('s'), class A {}, [{ b: 2 }], new Date(0), /r/);
setTimeout(log, 1, {});
export default { a: 1 };
