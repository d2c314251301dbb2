// Writes an object a hundred thousand deep.
// expect: completed "900002"
// limits: heap=64 timeout=10
let deep = {};
for (let i = 0; i < 1e5; i++) deep = { deep };
JSON.stringify(deep).length
