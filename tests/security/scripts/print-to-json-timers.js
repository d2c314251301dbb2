// Sets timers and rejects promises from toJSON of the result, when all is over.
// expect: completed
export default { toJSON() { setTimeout(() => { for (;;); }); Promise.reject(1); queueMicrotask(() => { for (;;); }); return 'shown'; } }
