// `Math.random`. Runs once, when the snapshot is baked; random.rs says why it is there.
//
// A script can replace every method and every getter, `length` of a typed array included, so at run
// time this uses nothing but syntax. `var`, because access to it needs no check.
(function (refill, count) {
  'use strict';
  var numbers;
  var left = 0;
  return {
    random() {
      if (left === 0) {
        numbers = refill(numbers);
        left = count;
      }
      return numbers[--left];
    },
    // Before the heap is kept: nobody draws from this batch again.
    forget() {
      numbers = undefined;
      left = 0;
    },
  };
})
