// Binds a function a hundred thousand times and calls it.
// expect: one of completed, script_error
// limits: heap=64 timeout=10
let bound = () => 'called';
for (let i = 0; i < 1e5; i++) bound = bound.bind(null);
bound()
