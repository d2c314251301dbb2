// Takes call sites with `this` and functions of other frames from Error.prepareStackTrace.
// expect: completed "[\"string\",\"string\",\"Error: m\"]"
Error.prepareStackTrace = (_, sites) => sites;
const { stack } = new Error('m');
const holder = {};
Error.captureStackTrace(holder);
[typeof stack, typeof holder.stack, stack.split('\n')[0]]
