// Throws while the delay of a timer is converted.
// expect: completed "[\"mine\",\"TypeError\",\"TypeError\"]"
const said = action => { try { return action(); } catch (error) { return error.name === 'Error' ? error.message : error.name; } };
[
  said(() => setTimeout(() => {}, { valueOf() { throw new Error('mine'); } })),
  said(() => setTimeout(() => {}, Symbol())),
  said(() => setTimeout(() => {}, 1n)),
]
