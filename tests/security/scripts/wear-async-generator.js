// Yields promises of generators of promises.
// expect: failed timed_out /^Execution timed out$/
async function* storm() { for (;;) yield Promise.resolve(1); }
for await (const one of storm()) one;
