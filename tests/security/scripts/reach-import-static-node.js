// Imports `node:fs` before anything runs.
// expect: failed syntax_error /Cannot import "node:fs": scripts have no modules to import from/
console.log('never');
import * as stolen from 'node:fs';
stolen
