// Returns ten million keys from a trap of a proxy.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=20
Reflect.ownKeys(new Proxy({}, { ownKeys() { return Array.from({ length: 1e7 }, (_, i) => 'k' + i); } })).length
