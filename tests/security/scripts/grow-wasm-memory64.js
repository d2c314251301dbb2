// Asks for a WebAssembly memory of 64 bits.
// expect: one of script_error, completed
// limits: heap=16
new WebAssembly.Memory({ address: 'i64', initial: 1n, maximum: 2n ** 37n }).grow(2n ** 36n);
