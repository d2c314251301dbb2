// Rejects a promise from toJSON, while a value is printed.
// expect: failed unhandled_rejection /^Error: in toJSON/
// output: /^1\n$/
console.log({ toJSON() { Promise.reject(new Error('in toJSON')); return 1; } });
