// Prints one of everything that is odd.
// expect: completed "went on"
// output: /Symbol\(\)/
// limits: timeout=10
const all = [null, undefined, -0, NaN, 1n, 2n ** 64n, Symbol(), Symbol('x'.repeat(1000)), Symbol.iterator, () => {},
  class {}, function* () {}, async () => {}, (function* () {})(), (async function* () {})(), new WeakMap(), new WeakSet(),
  new WeakRef({}), new FinalizationRegistry(() => {}), new Date(NaN), new Date(8.64e15), /(?:)/v, Object(1n), Object(Symbol()),
  Object('text'), Object.create(null), new (class extends Array {})(3), new (class extends Map {})([[1, 2]]),
  (function () { return arguments; })(1, 2), globalThis, import.meta, Intl, new Intl.NumberFormat(), Temporal.Now.plainDateISO,
  Temporal.PlainDate.from('2020-01-01'), WebAssembly, new WebAssembly.Memory({ initial: 0 }), new Error(''),
  new AggregateError([1, new Error('in')], 'all'), new SuppressedError(1, 2, 'm'), Promise.resolve(1), new Promise(() => {}),
  new Map([[{}, new Set([[]])]]).entries(), [1].values(), 'x'[Symbol.iterator](), Iterator.from([1]).map(x => x), Math, JSON,
  Reflect, Atomics, new DisposableStack(), new Proxy(class {}, {})];
for (const one of all) console.log(one, [one]);
console.log(all);
all.length > 40 ? 'went on' : 'too few'
