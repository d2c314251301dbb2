// Prints halves of characters, and all that terminals obey.
// expect: completed "3"
// output: /^�/
console.log('\ud800', '\udfff\ud800', '\u0000\u001b[2J\u0007\u202e\r\n\u2028');
'\ud800ab'.length
