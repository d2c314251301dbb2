// Backtracks in a regular expression.
// expect: failed timed_out /^Execution timed out$/
/^(a+)+$/.test('a'.repeat(60) + 'b')
