// Never comes back from toJSON while it is the result.
// expect: failed timed_out /^Execution timed out$/
export default { toJSON() { for (;;); } }
