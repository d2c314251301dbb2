// Returns a promise that is rejected.
// expect: one of unhandled_rejection, script_error
export default Promise.reject(new Error('exported'))
