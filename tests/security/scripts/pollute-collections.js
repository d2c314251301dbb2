// Breaks maps, sets, weak maps and typed arrays, then prints some.
// expect: completed "ok"
// output: /^.+\n$/
const log = console.log;
for (const type of [Map, Set, WeakMap, WeakSet, Object.getPrototypeOf(Int8Array), ArrayBuffer, DataView, Date]) {
  for (const key of Reflect.ownKeys(type.prototype)) {
    const { configurable } = Object.getOwnPropertyDescriptor(type.prototype, key);
    if (configurable) Object.defineProperty(type.prototype, key, { get() { for (;;); }, set() { for (;;); } });
  }
}
log(new Map(), new Set(), new Int8Array(2), new ArrayBuffer(2));
'ok'
