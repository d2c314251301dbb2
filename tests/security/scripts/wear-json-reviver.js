// Never comes back from a reviver.
// expect: failed timed_out /^Execution timed out$/
JSON.parse('[1]', () => { for (;;); })
