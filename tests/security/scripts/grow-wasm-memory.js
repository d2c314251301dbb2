// Grows one WebAssembly memory past its bound.
// expect: failed script_error /RangeError: WebAssembly.Memory.grow\(\)/
// limits: heap=16 timeout=10
const memory = new WebAssembly.Memory({ initial: 1 });
for (;;) memory.grow(256);
