// Lets the constructor of promises throw where `await` looks for it.
// expect: failed script_error /Error: constructor/
Object.defineProperty(Promise.prototype, 'constructor', { get() { throw new Error('constructor'); } });
await Promise.resolve(1);
