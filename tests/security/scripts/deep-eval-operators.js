// Evaluates an expression of a million operators.
// expect: one of completed, script_error, out_of_memory
// limits: heap=128 timeout=20
eval('1' + '+1'.repeat(1e6))
