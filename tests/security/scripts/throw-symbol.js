// Throws what no text can be made of.
// expect: failed script_error /^Uncaught Symbol\(s\)/
throw Symbol('s')
