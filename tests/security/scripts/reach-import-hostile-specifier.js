// Gives a specifier whose conversion to text runs code and throws.
// expect: completed "first: mine"
let said;
try {
  await import({ toString() { throw new Error('mine'); } });
} catch (error) {
  said = 'first: ' + error.message;
}
said
