// Prints and returns proxies whose traps never come back or throw: none runs.
// expect: completed "Proxy {\"a\":1}"
// output: /Proxy/
const loop = () => { for (;;); };
const traps = { get: loop, has: loop, ownKeys: loop, getOwnPropertyDescriptor: loop, getPrototypeOf: loop, apply: loop };
const proxy = new Proxy({ a: 1 }, traps);
const { proxy: revoked, revoke } = Proxy.revocable(() => {}, {});
revoke();
console.log(proxy, [proxy], { proxy }, revoked, new Proxy([1], traps), new Proxy(() => {}, traps), Object.create(proxy));
console.log(new Proxy(new Proxy({}, new Proxy({}, traps)), new Proxy({}, traps)));
proxy
