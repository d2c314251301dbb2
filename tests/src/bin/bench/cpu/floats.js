// Floating-point arrays: products of matrices.
const size = 300;
const matrix = (seed) => Float64Array.from({ length: size * size }, (_, i) => ((i * seed) % 97) / 97);
let a = matrix(31);
const b = matrix(57);
for (let round = 0; round < 12; round++) {
    const c = new Float64Array(size * size);
    for (let i = 0; i < size; i++) {
        for (let k = 0; k < size; k++) {
            const factor = a[i * size + k] / size;
            for (let j = 0; j < size; j++) c[i * size + j] += factor * b[k * size + j];
        }
    }
    a = c;
}
a.reduce((sum, x) => sum + x, 0).toFixed(6)
