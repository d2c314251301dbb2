// Returns a value with a `then` that never comes back: nobody awaits it.
// expect: completed "{\"then\":[Getter]}"
export default { get then() { for (;;); } };
