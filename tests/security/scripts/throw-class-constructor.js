// Gives classes and proxies as callbacks.
// expect: failed script_error /TypeError: Class constructor .* cannot be invoked without/
queueMicrotask(new Proxy(() => {}, {}));
setTimeout(class Callback {}, 1);
