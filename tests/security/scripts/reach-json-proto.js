// Pollutes prototypes by JSON.
// expect: completed "[\"undefined\",true]"
const parsed = JSON.parse('{"__proto__": {"polluted": 1}, "constructor": {"prototype": {"polluted": 1}}}');
[typeof ({}).polluted, Object.hasOwn(parsed, '__proto__')]
