// Replaces every character by the whole text.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
let text = 'x';
for (;;) text = text.replaceAll('x', text + text);
