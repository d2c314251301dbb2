// Searches an array-like of the greatest length.
// expect: failed timed_out /^Execution timed out$/
Array.prototype.indexOf.call({ length: 2 ** 53 - 1 }, 1)
