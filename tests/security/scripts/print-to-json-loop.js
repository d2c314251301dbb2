// Never comes back from toJSON while it is printed.
// expect: failed timed_out /^Execution timed out$/
console.log({ toJSON() { for (;;); } })
