// Backtracks backwards, with captures.
// expect: failed timed_out /^Execution timed out$/
/(?<=^(a|a)+)b/.test('x' + 'a'.repeat(60) + 'b')
