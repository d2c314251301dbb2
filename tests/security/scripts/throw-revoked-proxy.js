// Throws a proxy that is no more.
// expect: failed script_error /^Uncaught /
const { proxy, revoke } = Proxy.revocable({}, {});
revoke();
throw proxy
