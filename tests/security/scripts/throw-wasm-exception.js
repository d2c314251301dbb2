// Throws an exception of WebAssembly that carries a hostile value.
// expect: failed script_error /^Uncaught Exception/
const tag = new WebAssembly.Tag({ parameters: ['externref'] });
throw new WebAssembly.Exception(tag, [{ toJSON() { for (;;); } }], { traceStack: true })
