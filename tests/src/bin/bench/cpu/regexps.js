// Regular expressions: matched over a text, with groups.
let text = '';
for (let i = 0; i < 6000; i++) text += `2024-${String(i % 12 + 1).padStart(2, '0')}-${String(i % 28 + 1).padStart(2, '0')} user${i}@example.com said "${'word '.repeat(i % 9)}"\n`;
let found = 0;
for (let round = 0; round < 160; round++) {
    for (const match of text.matchAll(/(\d{4})-(\d\d)-(\d\d) (\w+)@([\w.]+)/g)) found += Number(match[3]);
    found += text.replace(/"(?:word )+"/g, '""').length;
    found += text.match(/\b[aeiou]?\w*r\d+\b/gi).length;
}
found
