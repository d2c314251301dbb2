// Never comes back from the callback of a registry.
// expect: failed timed_out /^Execution timed out$/
// limits: timeout=3
const registry = new FinalizationRegistry(() => { for (;;); });
for (let i = 0; i < 1000; i++) registry.register({}, i);
for (let i = 0; i < 1000; i++) { new Array(1e5).fill({}); await new Promise(done => setTimeout(done, 1)); }
'no collection came'
