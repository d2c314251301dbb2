// Sets traps on indices of Array.prototype and replaces its methods.
// expect: completed "[\"kept\"]"
// output: /^\{"a":1\} \["kept"\]\ntimer 1 2\n$/
const kept = ['kept'], log = console.log;
for (let i = 0; i < 100; i++) {
  Object.defineProperty(Array.prototype, i, { set() { throw new Error('set'); }, get() { throw new Error('get'); }, configurable: true });
}
for (const name of Reflect.ownKeys(Array.prototype)) {
  if (typeof name === 'string' && !/^\d|length|constructor/.test(name)) Array.prototype[name] = () => { throw new Error(name); };
}
log({ a: 1 }, kept);
setTimeout(log, 0, 'timer', 1, 2);
kept
