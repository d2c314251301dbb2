// Resolves a promise with a thenable that resolves it with itself.
// expect: failed timed_out /^Execution timed out$/
const endless = { then(resolve) { resolve({ then: endless.then }); } };
await endless;
