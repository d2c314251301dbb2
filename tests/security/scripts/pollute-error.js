// Breaks the prototypes, names and constructors of errors, then fails.
// expect: failed script_error /./
for (const type of [Error, TypeError, RangeError]) {
  Object.defineProperty(type.prototype, 'name', { get() { for (;;); } });
  Object.defineProperty(type.prototype, 'message', { get() { for (;;); } });
  Object.defineProperty(type.prototype, 'toString', { value() { for (;;); } });
  Object.defineProperty(type.prototype, 'constructor', { get() { for (;;); } });
}
Error.captureStackTrace = Error.prepareStackTrace = () => { for (;;); };
globalThis.TypeError = globalThis.Error = null;
null.x
