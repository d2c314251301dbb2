// Looks for what other hosts offer: browsers, Node, Deno, Bun, d8, qjs.
// expect: completed "[]"
const names = ['Bun', 'Buffer', 'Deno', 'EventSource', 'Realm', 'ShadowRealm', 'SharedArrayBuffer',
  'SharedWorker', 'WebSocket', 'Worker', 'XMLHttpRequest', '__dirname', '__filename', 'caches',
  'chrome', 'd8', 'document', 'exports', 'fetch', 'gc', 'global', 'importScripts',
  'indexedDB', 'load', 'localStorage', 'location', 'module', 'navigator', 'os', 'postMessage',
  'print', 'process', 'quit', 'read', 'readbuffer', 'require', 'scriptArgs', 'self', 'std',
  'structuredClone', 'version', 'window'];
names.filter(name => name in globalThis)
