// The same at run time, where no parser of ours is in between.
// expect: completed "[\"SyntaxError\",\"SyntaxError\"]"
const nameOf = action => { try { return action(); } catch (error) { return error.name; } };
[nameOf(() => eval('%DebugPrint(1)')), nameOf(() => new Function('return %SystemBreak()'))]
