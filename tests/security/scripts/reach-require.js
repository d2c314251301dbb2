// Loads a module of Node.
// expect: failed script_error /ReferenceError: require is not defined/
require('fs').readFileSync('/etc/passwd', 'utf8')
