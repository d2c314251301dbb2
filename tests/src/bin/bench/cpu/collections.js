// Map and Set: filled, read, emptied.
let sum = 0;
for (let round = 0; round < 6; round++) {
    const map = new Map();
    const set = new Set();
    for (let i = 0; i < 150000; i++) {
        map.set(`key ${i % 50000}`, i);
        set.add((i * 7919) % 100003);
    }
    for (const [key, value] of map) sum += key.length + value;
    for (let i = 0; i < 100003; i++) if (set.delete(i)) sum++;
}
sum
