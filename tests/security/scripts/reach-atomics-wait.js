// Blocks the thread until nobody wakes it.
// expect: failed script_error /TypeError: Atomics.wait cannot be called/
const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
Atomics.wait(new Int32Array(buffer), 0, 0);
