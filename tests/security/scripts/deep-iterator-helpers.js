// Nests iterator helpers without end.
// expect: failed script_error /RangeError: Maximum call stack size exceeded/
function nest() { return Iterator.from([1]).flatMap(() => nest()); }
nest().next()
