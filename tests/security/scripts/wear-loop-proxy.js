// Loops in the engine: a chain of prototypes that is a proxy of itself.
// expect: failed timed_out /^Execution timed out$/
const handler = {};
const endless = new Proxy({}, handler);
handler.getPrototypeOf = () => endless;
for (;;) { try { endless instanceof Object; Object.prototype.isPrototypeOf.call(Array.prototype, endless); } catch {} }
