// Makes classes that extend each other.
// expect: one of timed_out, out_of_memory, script_error
let Last = class {};
for (;;) Last = class extends Last { static x = 1; #y = 2; z() { return super.z; } };
