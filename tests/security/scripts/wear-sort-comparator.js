// Never comes back from a comparator.
// expect: failed timed_out /^Execution timed out$/
[3, 1, 2].sort(() => { for (;;); })
