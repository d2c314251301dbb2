// Adds durations for ever.
// expect: one of timed_out, script_error
let day = Temporal.PlainDate.from('2020-01-01');
for (;;) day = day.add({ days: 1 }).subtract({ months: 1 }).add({ months: 1 });
