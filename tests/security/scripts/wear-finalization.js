// Registers objects for finalisation and drops them.
// expect: one of timed_out, out_of_memory
let finalised = 0;
const registry = new FinalizationRegistry(() => { finalised++; });
for (;;) { for (let i = 0; i < 1e4; i++) registry.register({}, i); await null; }
