// Rejects and handles in turns, so that each is forgotten.
// expect: completed "100000"
// limits: heap=128 timeout=20
let handled = 0;
for (let i = 0; i < 1e5; i++) { const p = Promise.reject(i); p.catch(() => handled++); }
await new Promise(done => setTimeout(done, 1));
handled
