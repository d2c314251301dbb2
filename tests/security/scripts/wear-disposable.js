// Never ends disposing.
// expect: failed timed_out /^Execution timed out$/
const stack = new DisposableStack();
stack.defer(() => { for (;;); });
stack.dispose();
