// Uses the buffer of a memory after it has grown.
// expect: completed "[0,131072,\"TypeError\"]"
const memory = new WebAssembly.Memory({ initial: 1 });
const before = memory.buffer;
memory.grow(1);
let said;
try { before.slice(0); } catch (error) { said = error.name; }
[before.byteLength, memory.buffer.byteLength, said]
