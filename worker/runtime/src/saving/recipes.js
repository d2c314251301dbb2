// How objects of `Intl` and `Temporal` are described, and made again from their description.
//
// Runs once, when the base is baked; natives.rs says what it is for. Everything is taken from the
// language before any script has run. At run time this uses what it has taken and syntax that calls
// no method: a script can replace every method, the iterator of arrays and `Object.prototype`
// included, and what is read by name is read from objects without a prototype.
(function () {
  'use strict';
  const {create} = Object;
  const {getOwnPropertyDescriptor, ownKeys} = Reflect;
  const {isArray} = Array;
  // Of `f`, a function whose first argument is what `f` gets as `this`.
  const uncurry = Function.prototype.bind.bind(Function.prototype.call);
  const method = (owner, name) => uncurry(owner.prototype[name]);
  const getter = (owner, name) => uncurry(getOwnPropertyDescriptor(owner.prototype, name).get);
  const slice = uncurry(String.prototype.slice);
  const indexOf = uncurry(String.prototype.indexOf);

  const recipes = create(null);
  const add = (kind, describe, rebuild) => {
    recipes[kind] = create(null);
    recipes[kind].describe = describe;
    recipes[kind].rebuild = rebuild;
  };

  // Those of `Intl`: their resolved options, from which they resolve to the same again.
  const byOptions = (kind, probe) => {
    const Class = Intl[kind];
    const resolved = method(Class, 'resolvedOptions');
    const describe = object => {
      const options = resolved(object);
      const description = create(null);
      const keys = ownKeys(options);
      for (let i = 0; i < keys.length; i++) {
        const key = keys[i];
        // `hour12` says less than `hourCycle` and would go before it; categories are no option.
        if (key !== 'hour12' && key !== 'pluralCategories') description[key] = options[key];
      }
      if (probe) description['a sample'] = probe(object);
      return description;
    };
    add(kind, describe, description => new Class(description.locale, description));
  };
  byOptions('Collator');
  const date = Date.UTC(2001, 1, 3, 16, 5, 6, 789);
  const parts = method(Intl.DateTimeFormat, 'formatToParts');
  const joined = list => {
    let text = '';
    for (let i = 0; i < list.length; i++) text += list[i].value;
    return text;
  };
  byOptions('DateTimeFormat', object => joined(parts(object, date)));
  byOptions('DisplayNames');
  byOptions('DurationFormat');
  byOptions('ListFormat');
  const numberParts = method(Intl.NumberFormat, 'formatToParts');
  byOptions('NumberFormat', object => joined(numberParts(object, -1234567.891)));
  byOptions('PluralRules');
  byOptions('RelativeTimeFormat');
  byOptions('Segmenter');
  const {Locale} = Intl;
  add('Locale', method(Locale, 'toString'), text => new Locale(text));

  // Those of `Temporal`: what their constructors take.
  const {Duration, Instant, PlainDate, PlainDateTime, PlainMonthDay, PlainTime, PlainYearMonth,
         ZonedDateTime} = Temporal;
  const always = create(null);
  always.calendarName = 'always';
  const byText = (kind, Class) => {
    const toText = method(Class, 'toString');
    const from = Class.from;
    add(kind, object => toText(object, always), text => from(text));
  };
  byText('PlainDate', PlainDate);
  byText('PlainDateTime', PlainDateTime);
  byText('PlainTime', PlainTime);
  // `year-month-day[u-ca=calendar]`, the day or the year being that of reference.
  const byParts = (kind, Class, make) => {
    const toText = method(Class, 'toString');
    add(kind, object => toText(object, always), text => {
      const end = indexOf(text, '[');
      const day = +slice(text, end - 2, end);
      const month = +slice(text, end - 5, end - 3);
      const year = +slice(text, 0, end - 6);
      const calendar = slice(text, indexOf(text, '=') + 1, -1);
      return make(year, month, day, calendar);
    });
  };
  byParts('PlainYearMonth', PlainYearMonth,
          (year, month, day, calendar) => new PlainYearMonth(year, month, calendar, day));
  byParts('PlainMonthDay', PlainMonthDay,
          (year, month, day, calendar) => new PlainMonthDay(month, day, calendar, year));
  const instantNs = getter(Instant, 'epochNanoseconds');
  add('Instant', instantNs, ns => new Instant(ns));
  const zonedNs = getter(ZonedDateTime, 'epochNanoseconds');
  const zone = getter(ZonedDateTime, 'timeZoneId');
  const calendar = getter(ZonedDateTime, 'calendarId');
  add('ZonedDateTime', object => [zonedNs(object), zone(object), calendar(object)],
      at => new ZonedDateTime(at[0], at[1], at[2]));
  const [years, months, weeks, days, hours, minutes, seconds, ms, us, ns] = [
    'years', 'months', 'weeks', 'days', 'hours', 'minutes', 'seconds', 'milliseconds',
    'microseconds', 'nanoseconds'].map(unit => getter(Duration, unit));
  // A literal, since to assign an element that is not there runs a setter of the prototype.
  add('Duration',
      o => [years(o), months(o), weeks(o), days(o), hours(o), minutes(o), seconds(o), ms(o), us(o),
            ns(o)],
      a => new Duration(a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7], a[8], a[9]));

  const same = (a, b) => {
    if (typeof a !== 'object' || a === null) return a === b;
    if (typeof b !== 'object' || b === null || isArray(a) !== isArray(b)) return false;
    const keys = ownKeys(a);
    if (keys.length !== ownKeys(b).length) return false;
    for (let i = 0; i < keys.length; i++) {
      const key = keys[i];
      if (a[key] !== b[key]) return false;
    }
    return true;
  };
  const recipe = create(null);
  // The description of an object, or nothing if it would not be the same when made from that.
  recipe.describe = (kind, object) => {
    const {describe, rebuild} = recipes[kind];
    const description = describe(object);
    return same(description, describe(rebuild(description))) ? description : undefined;
  };
  recipe.rebuild = (kind, description) => recipes[kind].rebuild(description);
  return recipe;
})
