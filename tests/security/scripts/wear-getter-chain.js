// Follows accessors that call each other.
// expect: failed timed_out /^Execution timed out$/
const o = { get a() { return this.b; }, get b() { return this.a; } };
for (;;) { try { o.a; } catch {} }
