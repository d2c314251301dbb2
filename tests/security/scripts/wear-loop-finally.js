// Loops again in every handler that a stop could run into.
// expect: failed timed_out /^Execution timed out$/
for (;;) { try { for (;;); } catch { for (;;); } finally { for (;;); } }
