// Compiles new functions without end.
// expect: one of timed_out, out_of_memory
for (let i = 0; ; i++) new Function('a' + i, 'return a' + i + ' * ' + i)(i);
