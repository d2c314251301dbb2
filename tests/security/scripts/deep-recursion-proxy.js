// Recurses through proxies of proxies.
// expect: failed script_error /RangeError: Maximum call stack size exceeded/
// limits: heap=64 timeout=10
let proxy = {};
for (let i = 0; i < 1e5; i++) proxy = new Proxy(proxy, {});
proxy.x
