// Sets a timer from each timer.
// expect: failed timed_out /^Execution timed out$/
(function again() { setTimeout(again, 0); })()
