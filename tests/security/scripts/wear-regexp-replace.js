// Backtracks inside of a replacement function.
// expect: failed timed_out /^Execution timed out$/
'x'.repeat(1e5).replace(/x/g, () => { /^(a|a)*$/.test('a'.repeat(40) + 'b'); return ''; })
