// Imports `file:///etc/passwd` before anything runs.
// expect: failed syntax_error /Cannot import "file:...etc.passwd": scripts have no modules to import from/
console.log('never');
import * as stolen from 'file:///etc/passwd';
stolen
