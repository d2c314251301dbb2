// Never ends an asynchronous disposal.
// expect: failed timed_out /^Execution timed out$/
await using never = { async [Symbol.asyncDispose]() { for (;;) await null; } };
