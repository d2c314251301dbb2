// Strings: built in small pieces, cut, searched, joined.
let length = 0;
for (let round = 0; round < 12; round++) {
    let text = '';
    for (let i = 0; i < 150000; i++) text += 'piece ' + i + ';';
    const parts = text.split(';');
    length += parts.map((part) => part.slice(2).toUpperCase()).join('-').length;
    length += text.indexOf('piece 149999') + text.replaceAll('piece', 'p').length;
}
length
