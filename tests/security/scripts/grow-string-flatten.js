// Doubles a text and makes V8 write it out.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
let text = 'ab';
for (;;) { text += text; /a$/.test(text); text.charCodeAt(7); }
