// Shifts and raises BigInts past all memory.
// expect: completed "[\"RangeError\",\"RangeError\",\"RangeError\"]"
const nameOf = action => { try { return String(action()); } catch (error) { return error.name; } };
[nameOf(() => 1n << 2n ** 62n), nameOf(() => 2n ** (2n ** 30n)), nameOf(() => BigInt.asUintN(2 ** 53 - 1, -1n))]
