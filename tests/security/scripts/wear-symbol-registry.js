// Registers symbols without end.
// expect: one of timed_out, out_of_memory
for (let i = 0; ; i++) Symbol.for('symbol' + i);
