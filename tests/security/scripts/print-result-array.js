// Returns a tree of many millions of nodes that are few.
// expect: completed /./
// limits: heap=64 timeout=10
let tree = [1, 2, 3];
for (let i = 0; i < 20; i++) tree = [tree, tree, tree];
tree
