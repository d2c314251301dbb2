// Collects an iterator that never ends.
// expect: failed out_of_memory /^Out of memory/
// limits: heap=16 timeout=10
Iterator.from({ next() { return { value: 1 }; } }).toArray()
