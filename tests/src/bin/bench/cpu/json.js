// JSON: written and read.
const rows = [];
for (let i = 0; i < 4000; i++) {
    rows.push({ id: i, name: `row ${i}`, tags: ['a', 'b', String(i % 7)], at: { x: i / 3, y: -i }, on: i % 2 === 0 });
}
let bytes = 0;
let read = rows;
for (let i = 0; i < 200; i++) {
    const text = JSON.stringify(read);
    bytes += text.length;
    read = JSON.parse(text);
}
`${bytes} bytes, ${read.length} rows`
