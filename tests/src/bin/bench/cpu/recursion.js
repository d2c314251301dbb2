// Calls: the number of calls of a doubly recursive function.
let calls = 0;
function fibonacci(n) {
    calls++;
    return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}
`${fibonacci(39)} in ${calls}`
