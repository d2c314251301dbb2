// Puts a proxy with endless traps behind the global object.
// expect: failed timed_out /^Execution timed out$/
const loop = () => { for (;;); };
Object.setPrototypeOf(globalThis, new Proxy({}, { get: loop, has: loop, getPrototypeOf: loop }));
unknown;
