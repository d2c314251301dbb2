// Keeps locales of ever other names, and asks for all there is to know.
// expect: one of timed_out, out_of_memory
// limits: heap=16 timeout=4
const all = [];
for (let i = 0; ; i++) {
  all.push(new Intl.Locale('de-x-a' + i));
  if (i % 1000 === 0) all.push(Intl.supportedValuesOf('unit'), Intl.supportedValuesOf('timeZone'));
}
