// Throws at the very end of the stack.
// expect: failed script_error /./
function dive() { try { dive(); } finally { throw { toJSON: dive, toString: dive }; } }
dive()
