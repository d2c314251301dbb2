// Counts the months of half a million years in the Chinese calendar.
// expect: one of timed_out, script_error, completed
const year = n => Temporal.PlainDate.from({ year: n, month: 1, day: 1, calendar: 'chinese' });
year(-270000).until(year(270000), { largestUnit: 'months' }).toString()
