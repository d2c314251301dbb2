// Gives one object ever more properties.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
const object = {};
for (let i = 0; ; i++) object['property' + i] = { [i]: i };
