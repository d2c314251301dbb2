// Throws an error of a class with a hostile name and prototype.
// expect: failed script_error /./
class Hostile extends Error { get name() { for (;;); } get message() { for (;;); } static get name() { for (;;); } toString() { for (;;); } }
Object.setPrototypeOf(Hostile.prototype, new Proxy(Error.prototype, { get() { for (;;); }, getPrototypeOf() { for (;;); } }));
throw new Hostile('m')
