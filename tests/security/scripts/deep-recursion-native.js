// Recurses through functions of the language.
// expect: failed script_error /RangeError: Maximum call stack size exceeded/
const dive = () => [1].map(() => JSON.parse('1', () => 'x'.replace(/x/, () => Reflect.apply(dive, null, []))));
dive()
