// Replaces the constructor and species of promises.
// expect: completed "[1,2]"
class Fake { constructor() { throw new Error('constructed'); } static get [Symbol.species]() { throw new Error('species'); } }
Object.defineProperty(Promise.prototype, 'constructor', { get() { throw new Error('constructor'); } });
Object.defineProperty(Promise, Symbol.species, { value: Fake });
globalThis.Promise = Fake;
setTimeout(console.log, 1, 'timer');
[1, 2]
