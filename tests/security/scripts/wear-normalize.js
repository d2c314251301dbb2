// Normalises the longest text that grows eighteenfold.
// expect: one of timed_out, out_of_memory, script_error
for (;;) '\u{FDFA}'.repeat(1 << 20).normalize('NFKD');
