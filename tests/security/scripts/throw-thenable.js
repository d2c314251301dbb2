// Throws a thenable out of an async function.
// expect: failed script_error /./
await (async () => { throw { then() { for (;;); }, toJSON() { return 'thenable'; } }; })()
