// Imports `fs` while it runs.
// expect: failed script_error /TypeError: Cannot import "fs": scripts have no modules to import from/
const stolen = await import('fs');
stolen
