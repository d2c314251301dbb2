// Resolves each promise with a new one that waits for it.
// expect: one of timed_out, out_of_memory
let chain = Promise.resolve();
(function more() { chain = chain.then(() => new Promise(done => { more(); done(); })); })();
