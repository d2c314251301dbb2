// Makes formatters of ever other kinds and keeps none.
// expect: one of timed_out, out_of_memory
// limits: heap=16 timeout=2
for (let i = 0; ; i++) {
  new Intl.DateTimeFormat(['de', 'ja', 'ar-EG', 'th-u-ca-buddhist'][i % 4], { dateStyle: 'full', timeZone: 'Asia/Tokyo' });
  new Intl.NumberFormat('hi', { style: 'currency', currency: 'INR' });
  new Intl.Collator('sv');
  new Intl.Segmenter('zh');
}
