// Returns new objects with toJSON from toJSON, twice as many each time.
// expect: completed "went on"
// output: /^\{/
// limits: heap=64 timeout=20
class Twice { toJSON() { return { a: new Twice(), b: [new Twice()] }; } }
console.log(new Twice());
'went on'
