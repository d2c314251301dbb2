// Compiles a WebAssembly module of a hundred thousand functions.
// expect: one of completed, out_of_memory, script_error, timed_out
// limits: heap=128 timeout=20
const leb = n => n > 127 ? [(n & 127) | 128, ...leb(n >>> 7)] : [n];
const count = 100_000, body = [7, 0x00, 0x03, 0x40, 0x0c, 0x00, 0x0b, 0x0b];
const bytes = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 4, 1, 0x60, 0, 0];
const section = (id, items) => {
  const head = leb(count);
  bytes.push(id, ...leb(head.length + items.length), ...head);
  for (const item of items) bytes.push(item);
};
section(0x03, new Array(count).fill(0));
section(0x0a, new Array(count).fill(body).flat());
new WebAssembly.Module(new Uint8Array(bytes));
'compiled'
