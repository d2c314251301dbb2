// Imports `data:text/javascript,export default 1` before anything runs.
// expect: failed syntax_error /Cannot import "data:text.javascript,export default 1": scripts have no modules to import from/
console.log('never');
import * as stolen from 'data:text/javascript,export default 1';
stolen
