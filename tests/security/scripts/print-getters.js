// Prints and returns accessors that never come back: none runs.
// expect: completed /./
// output: /\n$/
const endless = { get a() { for (;;); }, set a(_) {}, get [Symbol.toStringTag]() { for (;;); } };
Object.defineProperty(endless, 'constructor', { get() { for (;;); }, enumerable: true });
console.log(endless, [endless], new Map([[endless, endless]]));
endless
