// Prints errors whose stacks are accessors, huge, and no text.
// expect: completed "went on"
// output: /./
// limits: heap=256 timeout=10
const huge = new Error('m');
huge.stack = 'x'.repeat(1 << 26);
const looping = new Error('looping');
Object.defineProperty(looping, 'stack', { get() { for (;;); } });
const none = Object.assign(new Error('none'), { stack: { toString() { for (;;); } }, name: Symbol('n'), message: {} });
console.log(looping, none, huge);
'went on'
