// Reads the host's locale and time zone.
// expect: completed "[\"UTC\",\"en-US\",0]"
const { timeZone, locale } = Intl.DateTimeFormat().resolvedOptions();
[timeZone, locale, new Date().getTimezoneOffset()]
