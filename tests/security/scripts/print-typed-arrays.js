// Prints views of buffers that are detached, shrunk and shared.
// expect: completed "went on"
// output: /\n$/
// limits: heap=64 timeout=10
const gone = new ArrayBuffer(8), view = new Int32Array(gone), data = new DataView(gone);
gone.transfer();
const small = new ArrayBuffer(16, { maxByteLength: 16 }), past = new Uint8Array(small, 8), at = new DataView(small, 12);
small.resize(4);
const { buffer } = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
console.log(view, data, gone, past, at, small, new BigInt64Array(2), new Float16Array(2), new Uint8Array(1e7));
console.log(new Uint8Array(buffer).length, buffer);
'went on'
