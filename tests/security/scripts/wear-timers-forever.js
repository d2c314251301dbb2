// Sets an interval of no time and lets it run.
// expect: failed timed_out /^Execution timed out$/
setInterval(() => {}, 0)
