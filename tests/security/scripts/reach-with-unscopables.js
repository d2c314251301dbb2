// Walks scopes with sloppy code and `with` around a proxy that has everything.
// expect: completed "[\"has process\",\"undefined\"]"
const seen = [];
const all = new Proxy({}, { has(_, key) { if (key === 'process') seen.push('has process'); return false; } });
seen.push(new Function('all', 'with (all) { return typeof process; }')(all));
seen
