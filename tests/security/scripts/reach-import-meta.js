// Looks for more in import.meta than a name.
// expect: completed "[\"file:///script.js\",\"undefined\",\"undefined\",[\"url\"],null]"
[import.meta.url, typeof import.meta.resolve, typeof import.meta.dirname, Object.keys(import.meta), Object.getPrototypeOf(import.meta)]
