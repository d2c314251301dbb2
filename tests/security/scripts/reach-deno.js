// Reads a file as Deno has it.
// expect: failed script_error /ReferenceError: Deno is not defined/
Deno.readTextFileSync('/etc/passwd')
