// Waits for a finalisation that never comes.
// expect: failed stalled /never settle/
await new Promise(done => { new FinalizationRegistry(done).register({}, 1); });
