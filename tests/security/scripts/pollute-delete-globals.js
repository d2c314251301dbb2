// Deletes every global there is.
// expect: completed "gone"
// output: /^still\nlater\n$/
const { log } = console, later = setTimeout;
const { ownKeys, deleteProperty } = Reflect, global = globalThis;
for (const key of ownKeys(global)) deleteProperty(global, key);
log('still');
later(log, 1, 'later');
await null;
'gone'
