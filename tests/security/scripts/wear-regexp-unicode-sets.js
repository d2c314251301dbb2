// Backtracks over sets of Unicode properties.
// expect: failed timed_out /^Execution timed out$/
/^([\p{L}--[a-z]]|[\p{L}&&[A-Z]])+$/v.test('A'.repeat(50) + 'a')
