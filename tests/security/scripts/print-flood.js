// Prints lines for ever.
// expect: failed timed_out /^Execution timed out$/
// output: /the script went on\]\n$/
// limits: timeout=3
for (let i = 0; ; i++) console.log('line', i);
