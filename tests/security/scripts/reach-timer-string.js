// Lets timers evaluate text.
// expect: failed script_error /TypeError: setTimeout: the callback must be a function/
setTimeout('globalThis.escaped = 1', 0)
