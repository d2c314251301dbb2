// Makes the limit of stacks an accessor that throws, then fails.
// expect: failed script_error /Error: end/
Object.defineProperty(Error, 'stackTraceLimit', { get() { throw new Error('getter'); } });
throw new Error('end');
