// Waits for what nobody will settle.
// expect: failed stalled /never settle/
await new Promise(() => {});
