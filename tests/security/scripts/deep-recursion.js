// Recurses without end.
// expect: failed script_error /RangeError: Maximum call stack size exceeded/
function dive() { return dive() + 1; }
dive()
