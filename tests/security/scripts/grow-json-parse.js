// Parses five million arrays out of few megabytes.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=64 timeout=20
JSON.parse('[' + '[],'.repeat(5e6) + '1]').length
