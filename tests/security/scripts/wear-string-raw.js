// Joins a template of the greatest length.
// expect: one of timed_out, out_of_memory, script_error
// limits: heap=16
String.raw({ raw: { length: 2 ** 53 - 1 } })
