// Never comes back from the conversion of what a typed array is filled with, and detaches it
// first.
// expect: failed timed_out /^Execution timed out$/
const bytes = new Uint8Array(1e6);
bytes.fill({ valueOf() { bytes.buffer.transfer(); for (;;); } })
