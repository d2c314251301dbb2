// Sets and clears timers while their arguments are converted and while they fire.
// expect: completed "[\"a\",\"b\"]"
const fired = [];
const other = setTimeout(() => fired.push('never'), 50);
setTimeout(() => fired.push('a'), { valueOf() { clearTimeout(other); setTimeout(() => fired.push('b'), 5); return 0; } });
const every = setInterval(() => { clearInterval(every); clearInterval(every); clearTimeout(every); }, 1);
for (const odd of [NaN, -1, 2 ** 53, 1e300, '1e3', {}, null, undefined, true, []]) clearTimeout(odd);
await new Promise(done => setTimeout(done, 100));
fired
