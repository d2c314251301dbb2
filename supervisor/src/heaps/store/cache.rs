//! Heaps that were used last, in memory.
//!
//! # Contract
//! * At most so many bytes are kept; the heap that was used longest ago goes first. One that is larger
//!   than all of it is not kept.
//! * What is kept may be in use elsewhere as well: then its memory stays until that is over.

use std::collections::{BTreeMap, HashMap};

use crate::heaps::{Heap, HeapId};

/// The heaps and when they were used.
#[derive(Debug)]
pub struct Cache {
    bytes_max: u64,
    bytes: u64,
    turn: u64,
    heaps: HashMap<HeapId, (u64, u8, Heap)>,
    by_turn: BTreeMap<u64, HeapId>,
}

impl Cache {
    /// For so many bytes.
    pub fn new(bytes_max: u64) -> Self {
        let (heaps, by_turn) = (HashMap::new(), BTreeMap::new());
        Self { bytes_max, bytes: 0, turn: 0, heaps, by_turn }
    }

    /// A heap that is kept, and its depth.
    pub fn get(&mut self, id: HeapId) -> Option<(Heap, u8)> {
        self.turn += 1;
        let (turn, depth, heap) = self.heaps.get_mut(&id)?;
        self.by_turn.remove(turn);
        *turn = self.turn;
        self.by_turn.insert(self.turn, id);
        Some((heap.clone(), *depth))
    }

    /// Keeps a heap.
    pub fn put(&mut self, heap: Heap, depth: u8) {
        let (id, bytes) = (heap.id(), heap.bytes());
        self.remove(id);
        if bytes > self.bytes_max {
            return;
        }
        while self.bytes + bytes > self.bytes_max
            && let Some((_, oldest)) = self.by_turn.first_key_value()
        {
            let oldest = *oldest;
            self.remove(oldest);
        }
        self.turn += 1;
        self.bytes += bytes;
        self.by_turn.insert(self.turn, id);
        self.heaps.insert(id, (self.turn, depth, heap));
    }

    /// Forgets a heap.
    pub fn remove(&mut self, id: HeapId) {
        if let Some((turn, _, heap)) = self.heaps.remove(&id) {
            self.by_turn.remove(&turn);
            self.bytes -= heap.bytes();
        }
    }

    /// Bytes that are kept.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use mcp_v8_protocol::HeapEngine;

    use super::*;
    use crate::heaps::{Engine, HeapFile};

    fn heap(byte: u8, bytes: usize) -> Heap {
        let engine = Engine { v8_version: "1".into(), hash: HeapEngine([0; 32]) };
        Heap::written(HeapFile::copy_of(&vec![byte; bytes]).unwrap(), engine).unwrap()
    }

    #[test]
    fn heaps_are_kept_up_to_the_bound_and_past_it_the_one_used_longest_ago_goes() {
        let mut cache = Cache::new(300);
        let heaps: Vec<Heap> = (0..4).map(|n| heap(n, 100)).collect();
        heaps[..3].iter().for_each(|heap| cache.put(heap.clone(), 1));
        assert_eq!(cache.bytes(), 300);
        assert!(cache.get(heaps[0].id()).is_some(), "used: the second is the oldest now");
        cache.put(heaps[3].clone(), 2);
        assert_eq!(cache.bytes(), 300);
        let kept: Vec<bool> = heaps.iter().map(|heap| cache.get(heap.id()).is_some()).collect();
        assert_eq!(kept, [true, false, true, true]);
        assert_eq!(cache.get(heaps[3].id()).unwrap().1, 2);
        cache.put(heaps[3].clone(), 2);
        assert_eq!(cache.bytes(), 300, "kept once");
    }

    #[test]
    fn a_heap_of_the_whole_bound_is_kept_and_one_byte_more_is_not() {
        let mut cache = Cache::new(300);
        let (fits, past) = (heap(1, 300), heap(2, 301));
        cache.put(fits.clone(), 0);
        cache.put(past.clone(), 0);
        assert!(cache.get(past.id()).is_none());
        assert!(cache.get(fits.id()).is_some(), "nothing had to go for it");
        cache.remove(fits.id());
        assert_eq!(cache.bytes(), 0);
    }
}
