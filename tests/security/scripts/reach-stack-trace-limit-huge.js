// Wants stacks without end.
// expect: completed "[true,true]"
// limits: timeout=10
Error.stackTraceLimit = 2 ** 32 - 1;
let depth = 0, stack = '';
const dive = n => { depth = n; if (n === 5000) stack = new Error('deep').stack; else dive(n + 1); };
dive(0);
[depth === 5000, stack.length > 0]
