// Never comes back from `then`.
// expect: failed timed_out /^Execution timed out$/
await { then() { for (;;); } };
