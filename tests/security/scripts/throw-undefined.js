// Throws nothing at all.
// expect: failed script_error /^Uncaught undefined/
throw undefined
