// BigInt: a factorial, its digits, powers modulo.
let product = 1n;
for (let i = 1n; i <= 12000n; i++) product *= i;
let digits = 0;
for (let round = 0; round < 60; round++) digits += product.toString().length;
const modulus = (1n << 521n) - 1n;
let power = 3n;
for (let i = 0; i < 900000; i++) power = (power * power + BigInt(i)) % modulus;
`${digits} digits, ${power % 1000000007n}`
