// Takes call, apply and bind away from functions.
// expect: completed "fine"
// output: /^microtask\ntimer\n$/
const log = console.log;
Function.prototype.call = Function.prototype.apply = Function.prototype.bind = () => { throw new Error('called'); };
Function.prototype.toString = () => { throw new Error('text'); };
setTimeout(log, 1, 'timer');
queueMicrotask(() => log('microtask'));
'fine'
