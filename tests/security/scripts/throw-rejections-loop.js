// Rejects without end within one turn.
// expect: one of timed_out, out_of_memory
// limits: heap=16
for (;;) Promise.reject(1);
