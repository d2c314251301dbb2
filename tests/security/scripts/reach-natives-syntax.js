// Calls runtime functions of V8 by the syntax of its own tests.
// expect: failed syntax_error /SyntaxError/
%DebugPrint(globalThis);
