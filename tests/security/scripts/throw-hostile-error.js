// Throws an error whose every property is an accessor that never comes back.
// expect: failed script_error /./
const error = new Error('m');
for (const key of ['name', 'message', 'stack', 'cause', 'constructor', 'toString', Symbol.toPrimitive]) {
  Object.defineProperty(error, key, { get() { for (;;); } });
}
throw error
