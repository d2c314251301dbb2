// Throws from a microtask a value whose toJSON throws and queues more.
// expect: failed script_error /^Uncaught \{"toJSON"/
queueMicrotask(() => { throw { toJSON() { queueMicrotask(() => { throw 2; }); throw 3; } }; });
