// Throws from a timer while others wait.
// expect: failed script_error /^Error: timer/
setInterval(() => {}, 1);
setTimeout(() => { throw new Error('timer'); }, 5);
