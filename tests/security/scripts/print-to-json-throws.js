// Throws, overflows and prints from toJSON.
// expect: completed "went on"
// output: /innermost\ninner 1\n2\n/
console.log({ toJSON() { throw new Proxy({}, { get() { throw 1; } }); } });
console.log({ toJSON() { return this.toJSON(); } });
console.log({ toJSON() { console.log('inner', { toJSON() { console.log('innermost'); return 1; } }); return 2; } });
console.log({ toJSON() { throw null; } }, { toJSON: async () => 1 }, { *toJSON() { yield 1; } });
'went on'
