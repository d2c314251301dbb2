// Reads the environment as Node has it.
// expect: failed script_error /ReferenceError: process is not defined/
process.env
