// Throws a proxy whose traps never come back.
// expect: failed script_error /^Uncaught Proxy/
const loop = () => { for (;;); };
throw new Proxy(new Error('m'), { get: loop, has: loop, ownKeys: loop, getPrototypeOf: loop, getOwnPropertyDescriptor: loop })
