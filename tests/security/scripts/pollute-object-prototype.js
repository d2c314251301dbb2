// Puts accessors that throw on Object.prototype for every name a host may look up.
// expect: completed "{\"a\":1}"
// output: /^.*"b":2.* \[1\]\ntimer\n$/
const log = console.log, trap = { get() { throw new Error('get'); }, set() { throw new Error('set'); } };
const { defineProperty } = Object;
for (const name of ['then', 'toJSON', 'name', 'message', 'stack', 'cause', 'get', 'set', 'value', 'writable',
  'enumerable', 'configurable', 'length', 'constructor', 'default', 'url', 'code', 'errors', 'valueOf',
  'toString', 'inspect', 'callback', 'label', '0', '1', '-1', Symbol.iterator, Symbol.toPrimitive,
  Symbol.toStringTag, Symbol.species]) {
  defineProperty(Object.prototype, name, { __proto__: null, ...trap });
}
log({ __proto__: null, b: 2 }, [1]);
setTimeout(() => log('timer'), 1);
export default { a: 1 };
