// Lets a reviver lengthen what is being revived.
// expect: completed "[[1,[1]],[1]]"
JSON.parse('[[1]]', function (key, value) { if (Array.isArray(this)) this.push([1]); return value; })
