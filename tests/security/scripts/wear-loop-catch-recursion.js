// Recurses to the end of the stack again and again.
// expect: failed timed_out /^Execution timed out$/
for (;;) { try { (function dive() { dive(); })(); } catch {} }
