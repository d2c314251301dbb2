throw new Error('here'); // names a local file as its source map, and as its name
// expect: failed script_error /Error: here\n    at script.js:1:7/
//# sourceMappingURL=file:///etc/passwd
//# sourceURL=file:///etc/passwd
