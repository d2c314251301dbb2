// Imports `fs` before anything runs.
// expect: failed syntax_error /Cannot import "fs": scripts have no modules to import from/
console.log('never');
import * as stolen from 'fs';
stolen
