// Compiles ten thousand modules of noise.
// expect: completed "10000"
// limits: timeout=20
let refused = 0, seed = 7;
for (let i = 0; i < 10_000; i++) {
  const bytes = new Uint8Array(64);
  bytes.set([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]);
  for (let at = 8; at < 64; at++) bytes[at] = (seed = (seed * 1103515245 + 12345) & 0x7fffffff) >> 16;
  try { new WebAssembly.Module(bytes); } catch { refused++; }
}
refused
