// Imports `file:///etc/passwd` while it runs.
// expect: failed script_error /TypeError: Cannot import "file:...etc.passwd": scripts have no modules to import from/
const stolen = await import('file:///etc/passwd');
stolen
