// Throws from the callback of a registry.
// expect: failed script_error /^Error: finalised/
// limits: timeout=20
const registry = new FinalizationRegistry(() => { throw new Error('finalised'); });
for (let i = 0; i < 1000; i++) registry.register({}, i);
for (let i = 0; i < 1000; i++) { new Array(1e5).fill({}); await new Promise(done => setTimeout(done, 1)); }
'no collection came'
