// Typed arrays: filled, sorted with and without a comparator.
const values = new Uint32Array(400000);
let sum = 0;
for (let round = 0; round < 4; round++) {
    let x = 12345 + round;
    for (let i = 0; i < values.length; i++) values[i] = x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    const sorted = Float64Array.from(values).sort();
    values.subarray(0, 150000).sort((a, b) => b - a);
    sum += sorted[1000] + values[1000];
}
sum
