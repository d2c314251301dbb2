// Runs code while enums and namespaces are made.
// expect: completed "[\"undefined\",\"undefined\"]"
enum Found { Process = (typeof (globalThis as any).process).length }
namespace Reach { export const from = (function (this: unknown) { return typeof (this as any); })(); }
[typeof (globalThis as any).process, Reach.from] satisfies string[]
