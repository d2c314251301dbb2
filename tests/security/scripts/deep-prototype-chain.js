// Makes a chain of a million prototypes and looks to its end.
// expect: one of completed, timed_out, out_of_memory
// limits: heap=256 timeout=10
let object = {};
for (let i = 0; i < 1e6; i++) object = Object.create(object);
console.log(object);
object.missing
