// Sleeps for as long as a timer can.
// expect: failed timed_out /^Execution timed out$/
await new Promise(done => setTimeout(done, 2 ** 31 - 1));
