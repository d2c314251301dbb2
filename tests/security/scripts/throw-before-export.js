// Throws before the result is initialised.
// expect: failed script_error /^Uncaught 1/
throw 1;
export default class Never {}
