// Makes every object a thenable that never settles, and is one itself.
// expect: completed "[Object: null prototype] {\"mine\":1}"
// output: /^$/
Object.prototype.then = function () {};
export default { __proto__: null, mine: 1 };
