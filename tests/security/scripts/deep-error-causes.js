// Fails with an error whose causes go on for ever.
// expect: failed script_error /Error: outermost/
// limits: heap=256 timeout=10
let cause = new Error('innermost');
for (let i = 0; i < 1e5; i++) cause = new Error('e' + i, { cause });
const ring = new Error('ring');
ring.cause = ring;
console.log(ring);
throw new Error('outermost', { cause });
