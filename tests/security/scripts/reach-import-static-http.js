// Imports `http://127.0.0.1/x.js` before anything runs.
// expect: failed syntax_error /Cannot import "http:..127.0.0.1.x.js": scripts have no modules to import from/
console.log('never');
import * as stolen from 'http://127.0.0.1/x.js';
stolen
