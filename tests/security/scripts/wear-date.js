// Parses odd dates and formats them for ever.
// expect: failed timed_out /^Execution timed out$/
for (let i = 0; ; i++) new Date('x'.repeat(i % 1000) + i).toString();
