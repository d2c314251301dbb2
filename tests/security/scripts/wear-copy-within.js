// Moves what an array-like of the greatest length has not.
// expect: failed timed_out /^Execution timed out$/
Array.prototype.copyWithin.call({ length: 2 ** 53 - 1 }, 0, 1)
