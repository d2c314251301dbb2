// Freezes the global object and all prototypes, then goes on.
// expect: completed "[1,\"later\"]"
for (const key of Reflect.ownKeys(globalThis)) {
  const value = Object.getOwnPropertyDescriptor(globalThis, key).value;
  if (typeof value === 'function' && value.prototype) Object.freeze(value.prototype);
  if (value && typeof value === 'object' && value !== globalThis) Object.freeze(value);
}
Object.preventExtensions(globalThis);
const late = await new Promise(done => setTimeout(done, 1, 'later'));
[1, late]
