// Queues two microtasks from each.
// expect: one of timed_out, out_of_memory
function twice() { queueMicrotask(twice); queueMicrotask(twice); }
twice();
