// Segments a long text word by word, without end.
// expect: failed timed_out /^Execution timed out$/
const words = new Intl.Segmenter('th', { granularity: 'word' });
for (;;) for (const { segment } of words.segment('ภาษาไทยภาษาไทย'.repeat(1000))) segment;
