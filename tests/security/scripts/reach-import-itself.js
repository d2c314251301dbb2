// Imports itself again by the name that stack traces show.
// expect: failed script_error /TypeError: Cannot import "file:...script.js"/
(await import(import.meta.url)).default
