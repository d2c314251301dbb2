// Throws from a hundred thousand microtasks.
// expect: failed script_error /^Error: first/
// limits: heap=128 timeout=10
for (let i = 0; i < 1e5; i++) queueMicrotask(() => { throw new Error(i ? 'later' : 'first'); });
