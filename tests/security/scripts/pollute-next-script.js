// Leaves traps in every prototype for the script that comes after it.
// expect: completed
for (const type of [Object, Function, Array, Promise, Error, Number, String]) {
  try {
    for (const key of Reflect.ownKeys(type.prototype)) {
      Object.defineProperty(type.prototype, key, { get() { throw new Error('left behind'); } });
    }
  } catch {}
}
setInterval;
