// Imports `http://127.0.0.1/x.js` while it runs.
// expect: failed script_error /TypeError: Cannot import "http:..127.0.0.1.x.js": scripts have no modules to import from/
const stolen = await import('http://127.0.0.1/x.js');
stolen
