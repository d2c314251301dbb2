// Rejects with a proxy whose traps never come back.
// expect: failed unhandled_rejection /Proxy/
Promise.reject(new Proxy({}, { get() { for (;;); }, getPrototypeOf() { for (;;); }, ownKeys() { for (;;); } }))
