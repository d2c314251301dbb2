// Compiles a regular expression of millions of groups.
// expect: one of out_of_memory, script_error, timed_out
// limits: heap=16 timeout=10
new RegExp('(?:a{0,1000}){0,1000}'.repeat(1e5)).test('aaaa')
