// Returns a text of a quarter gigabyte.
// expect: completed /result cut here: it was longer than 1 MiB\]$/
// limits: heap=512 timeout=10
'x'.repeat(2 ** 28)
