// Imports by the old syntax of TypeScript.
// expect: failed script_error /ReferenceError: require is not defined/
import fs = require('fs');
fs.readFileSync('/etc/passwd')
