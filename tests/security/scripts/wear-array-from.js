// Makes an array of a length that only seems harmless.
// expect: one of timed_out, out_of_memory, script_error
Array.from({ length: 2 ** 40 }, (_, i) => i & 1)
