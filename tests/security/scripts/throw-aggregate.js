// Throws an error of a hundred thousand errors.
// expect: failed script_error /AggregateError: many/
// limits: heap=256 timeout=10
throw new AggregateError(Array.from({ length: 1e5 }, (_, i) => new Error('x'.repeat(100) + i)), 'many')
