// Evaluates code in the global scope to find what modules do not see.
// expect: completed "[true,\"undefined\",\"SyntaxError\",\"TypeError\"]"
const nameOf = action => { try { return action(); } catch (error) { return error.name; } };
[
  (0, eval)('this') === globalThis,
  (0, eval)('var leaked = 1; typeof require'),
  nameOf(() => eval('import.meta.url; import "node:fs"')),
  await (0, eval)('import("node:fs")').catch(error => error.name),
]
