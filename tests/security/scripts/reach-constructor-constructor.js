// Gets at the global object through the constructor of constructors.
// expect: completed "[true,\"undefined\",\"undefined\"]"
const global = [].constructor.constructor('return this')();
[global === globalThis, typeof global.process, typeof global.require]
