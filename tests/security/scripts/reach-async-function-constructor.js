// Imports from code made by the constructors of async functions and generators.
// expect: completed "[\"TypeError\",\"TypeError\",\"TypeError\"]"
const makers = [async () => {}, async function* () {}, function* () {}].map(f => f.constructor);
const said = [];
for (const make of makers) {
  const made = make('return import("node:fs")')();
  const reach = async () => { const end = await (made.next?.() ?? made); return await end.value; };
  said.push(await reach().then(() => 'reached', error => error.name));
}
said
