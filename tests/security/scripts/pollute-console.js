// Replaces console and its methods, freezes it, and makes it a proxy.
// expect: completed "shown"
// output: /^original\nlater\n$/
const { log } = console;
console.log = console.error = () => { throw new Error('replaced'); };
Object.freeze(console);
globalThis.console = new Proxy(console, { get() { throw new Error('proxy'); } });
log('original');
delete globalThis.console;
Object.defineProperty(globalThis, 'console', { get() { throw new Error('accessor'); } });
setTimeout(log, 1, 'later');
'shown'
