// The collector: short-lived objects beside a tree that lives.
function tree(depth) {
    return depth === 0 ? { left: null, right: null } : { left: tree(depth - 1), right: tree(depth - 1) };
}
function count(node) {
    return node === null ? 0 : 1 + count(node.left) + count(node.right);
}
const lives = tree(16);
let dead = 0;
for (let i = 0; i < 2000; i++) dead += count(tree(12));
`${count(lives)} live, ${dead} dead`
