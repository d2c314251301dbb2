// Starts async functions faster than they end.
// expect: one of timed_out, out_of_memory
async function more() { await null; more(); more(); }
more();
await new Promise(() => setTimeout(() => {}, 1e9));
