// Abuses the hidden function that throws are compiled to.
// expect: completed "[\"TypeError\",1,\"TypeError\",true]"
// limits: timeout=10
const { thrown } = import.meta;
const nameOf = action => { try { return action(); } catch (error) { return error.name; } };
const huge = thrown.call(new Proxy({}, {}), 'x'.repeat(1 << 24));
for (let i = 0; i < 1e5; i++) thrown(new Proxy(thrown, {}));
[
  nameOf(() => new thrown(1)),
  thrown.apply(null, [1, 2, 3]),
  nameOf(() => { import.meta.thrown = null; }),
  huge.length === 1 << 24,
]
