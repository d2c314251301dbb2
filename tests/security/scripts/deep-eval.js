// Evaluates sources that nest a million deep.
// expect: completed "[\"refused\",\"refused\",\"refused\",\"refused\"]"
// limits: heap=128 timeout=20
const outcome = source => { try { eval(source); return 'evaluated'; } catch { return 'refused'; } };
[
  outcome('('.repeat(1e6)),
  outcome('['.repeat(1e6) + ']'.repeat(1e6)),
  outcome('{'.repeat(1e6) + '}'.repeat(1e6)),
  outcome('`${'.repeat(1e5) + '1' + '}`'.repeat(1e5)),
]
