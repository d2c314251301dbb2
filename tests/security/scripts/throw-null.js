// Throws nothing.
// expect: failed script_error /^Uncaught null/
throw null
