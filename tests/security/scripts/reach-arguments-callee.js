// Climbs the stack to the caller of its first function.
// expect: completed "[null,\"TypeError\",\"TypeError\"]"
const nameOf = action => { try { return action(); } catch (error) { return error.name; } };
const sloppy = new Function('return arguments.callee.caller');
[sloppy(), nameOf(() => (() => {}).caller), nameOf(() => (function () { return arguments.callee; })())]
