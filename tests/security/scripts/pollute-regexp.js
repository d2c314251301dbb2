// Breaks what regular expressions are made of.
// expect: completed "ok"
// output: /^/
const log = console.log;
RegExp.prototype.exec = RegExp.prototype[Symbol.replace] = RegExp.prototype[Symbol.split] = () => { throw new Error('exec'); };
Object.defineProperty(RegExp.prototype, 'flags', { get() { for (;;); } });
Object.defineProperty(RegExp.prototype, 'source', { get() { for (;;); } });
log(/a\/b/gi);
'ok'
