// Replaces namespaces of the language by proxies that throw.
// expect: completed "{\"a\":[1]}"
// output: /^\{"a":1\}\n\[2\]\n$/
const log = console.log;
const hostile = new Proxy({}, { get() { throw new Error('get'); }, has() { throw new Error('has'); } });
globalThis.JSON = globalThis.Math = globalThis.Reflect = globalThis.Object = globalThis.Array = globalThis.String = hostile;
log({ a: 1 });
setTimeout(log, 1, [2]);
export default { a: [1] };
