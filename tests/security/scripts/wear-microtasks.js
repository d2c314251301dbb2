// Queues a microtask from a microtask.
// expect: failed timed_out /^Execution timed out$/
function again() { queueMicrotask(again); }
again();
