// Makes memory that threads share, and a clock out of it.
// expect: completed "[\"undefined\",\"undefined\",\"undefined\"]"
const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
[typeof SharedArrayBuffer, typeof Object.getPrototypeOf(buffer).constructor?.prototype?.growable, typeof Atomics.waitAsync]
