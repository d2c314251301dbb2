// Lists every global beyond the language: a new one must be seen by whoever adds it.
// expect: completed "[\"WebAssembly\",\"artifact\",\"clearInterval\",\"clearTimeout\",\"console\",\"crypto\",\"performance\",\"queueMicrotask\",\"setInterval\",\"setTimeout\"]"
const language = new Set(['AggregateError', 'Array', 'ArrayBuffer', 'AsyncDisposableStack', 'Atomics',
  'BigInt', 'BigInt64Array', 'BigUint64Array', 'Boolean', 'DataView', 'Date', 'DisposableStack', 'Error',
  'EvalError', 'FinalizationRegistry', 'Float16Array', 'Float32Array', 'Float64Array', 'Function',
  'Infinity', 'Int16Array', 'Int32Array', 'Int8Array', 'Intl', 'Iterator', 'JSON', 'Map', 'Math', 'NaN',
  'Number', 'Object', 'Promise', 'Proxy', 'RangeError', 'ReferenceError', 'Reflect', 'RegExp', 'Set',
  'String', 'SuppressedError', 'Symbol', 'SyntaxError', 'Temporal', 'TypeError', 'URIError', 'Uint16Array',
  'Uint32Array', 'Uint8Array', 'Uint8ClampedArray', 'WeakMap', 'WeakRef', 'WeakSet', 'decodeURI',
  'decodeURIComponent', 'encodeURI', 'encodeURIComponent', 'escape', 'eval', 'globalThis', 'isFinite',
  'isNaN', 'parseFloat', 'parseInt', 'undefined', 'unescape']);
Reflect.ownKeys(globalThis).filter(name => !language.has(name)).map(String).sort()
