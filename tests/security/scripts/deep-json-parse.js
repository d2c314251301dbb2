// Parses brackets a million deep.
// expect: one of completed, script_error
// limits: heap=128 timeout=10
JSON.parse('['.repeat(1e6) + ']'.repeat(1e6)).length
