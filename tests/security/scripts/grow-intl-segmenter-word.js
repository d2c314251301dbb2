// Keeps Intl objects, whose memory V8 does not count.
// expect: one of out_of_memory, script_error, timed_out
// limits: heap=64 timeout=20
const all = [];
for (;;) { all.push(new Intl.Segmenter('th', { granularity: 'word' })); all.at(-1).segment('ab'); }
