// Resolves a promise with itself.
// expect: failed script_error /TypeError: Chaining cycle detected/
let settle;
const ring = new Promise(done => { settle = done; });
settle(ring);
await ring;
