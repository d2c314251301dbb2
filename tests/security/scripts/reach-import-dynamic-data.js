// Imports `data:text/javascript,export default 1` while it runs.
// expect: failed script_error /TypeError: Cannot import "data:text.javascript,export default 1": scripts have no modules to import from/
const stolen = await import('data:text/javascript,export default 1');
stolen
