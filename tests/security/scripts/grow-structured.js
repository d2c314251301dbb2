// Copies an object tree with itself as leaves.
// expect: one of out_of_memory, script_error
// limits: heap=16 timeout=10
let tree = {};
for (;;) tree = { left: { ...tree, tree }, right: Object.entries(tree), all: JSON.stringify(Object.keys(tree)).repeat(100) };
