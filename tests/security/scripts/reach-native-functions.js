// Uses the runtime's own functions as constructors, with odd receivers and through proxies.
// expect: completed "[\"TypeError\",\"TypeError\",\"TypeError\",\"undefined\",0]"
// output: /^null\nproxy\nthrough a proxy\nbound\n$/
const nameOf = action => { try { return String(action()); } catch (error) { return error.name; } };
console.log.call(null, 'null');
Reflect.apply(console.log, new Proxy({}, {}), ['proxy']);
new Proxy(console.log, {})('through a proxy');
console.log.bind(Symbol.iterator)('bound');
[
  nameOf(() => new console.log()),
  nameOf(() => Reflect.construct(setTimeout, [() => {}])),
  nameOf(() => class extends queueMicrotask {}),
  typeof console.log.prototype,
  Object.getOwnPropertyNames(console.log).filter(name => name !== 'length' && name !== 'name').length,
]
