// Makes formatters of ever other kinds.
// expect: one of timed_out, out_of_memory
// limits: heap=16 timeout=4
const all = [];
for (let i = 0; ; i++) {
  all.push(new Intl.DateTimeFormat(['de', 'ja', 'ar-EG', 'th-u-ca-buddhist'][i % 4], { dateStyle: 'full', timeZone: 'Asia/Tokyo' }));
  all.push(new Intl.NumberFormat('hi', { style: 'currency', currency: 'INR' }), new Intl.Collator('sv'), new Intl.Segmenter('zh'));
}
