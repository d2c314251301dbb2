// Imports `node:fs` while it runs.
// expect: failed script_error /TypeError: Cannot import "node:fs": scripts have no modules to import from/
const stolen = await import('node:fs');
stolen
