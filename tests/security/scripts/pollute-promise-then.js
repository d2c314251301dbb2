// Replaces Promise.prototype.then, catch and finally by what throws and never settles.
// expect: completed "done"
Promise.prototype.then = Promise.prototype.catch = Promise.prototype.finally = () => { throw new Error('then'); };
await null;
await new Promise(done => setTimeout(done, 1));
export default (async () => 'done')();
