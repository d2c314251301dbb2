//! Heaps that nothing names, removed.
//!
//! # Contract
//! * What a heap that stays is stored against stays as well, whatever names it.
//! * A heap goes before what it is stored against, so that a crash in between leaves none that cannot
//!   be read.
//! * Whoever stores a heap that is there already, or stores one against it, while this goes on, either
//!   saves it or finds that it is gone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::disk::HeapFileEntry;
use super::{HeapId, HeapStore, Inner, StoreError, blocking};

impl HeapStore {
    /// Removes those of `here` that are not `named` and were stored or asked for last before `old`, and
    /// not within `young` by this process's own clock. Says how many.
    ///
    /// # Errors
    /// [`StoreError::Disk`].
    pub async fn sweep(
        &self,
        here: Vec<HeapFileEntry>,
        named: HashSet<HeapId>,
        old: SystemTime,
        young: Duration,
    ) -> Result<usize, StoreError> {
        let inner = Arc::clone(&self.inner);
        blocking(move || inner.sweep(&here, &named, old, young)).await
    }
}

impl Inner {
    fn sweep(
        &self,
        here: &[HeapFileEntry],
        named: &HashSet<HeapId>,
        old: SystemTime,
        young: Duration,
    ) -> Result<usize, StoreError> {
        // What is remembered of the last minutes is forgotten also when nothing has to go.
        self.disk.stored_within(young);
        let goes = |file: &&HeapFileEntry| !named.contains(&file.id) && file.modified < old;
        let mut going: HashMap<HeapId, u8> = here
            .iter()
            .filter(goes)
            // One that cannot be read has nothing on it that can.
            .map(|file| (file.id, self.head(file.id).map_or(u8::MAX, |(head, _)| head.depth)))
            .collect();
        if going.is_empty() {
            return Ok(0);
        }
        for file in here.iter().filter(|file| !goes(file)) {
            self.keep_below(file.id, &mut going)?;
        }
        let known: HashSet<HeapId> = here.iter().map(|file| file.id).collect();
        // From here on nothing comes, and nothing is asked for.
        let _alone = self.disk.alone();
        for file in self.disk.list()? {
            if !known.contains(&file.id) || file.modified >= old {
                going.remove(&file.id);
                self.keep_below(file.id, &mut going)?;
            }
        }
        for id in self.disk.stored_within(young) {
            if going.remove(&id).is_some() {
                self.keep_below(id, &mut going)?;
            }
        }
        let mut going: Vec<_> = going.into_iter().collect();
        going.sort_by_key(|(_, depth)| std::cmp::Reverse(*depth));
        let mut removed = 0;
        for (id, _) in going {
            self.cache.lock().remove(id);
            removed += usize::from(self.disk.remove(id)?);
        }
        Ok(removed)
    }

    /// Keeps all that a heap which stays is stored against.
    fn keep_below(&self, id: HeapId, going: &mut HashMap<HeapId, u8>) -> Result<(), StoreError> {
        let mut next = Some(id);
        // Depths fall, but whoever wrote the files is not believed.
        for _ in 0..=super::HEAP_DEPTH_MAX {
            let Some(heap) = next else { break };
            next = match self.head(heap) {
                Ok((head, _)) => head.parent,
                // What it stands on cannot be known: nothing is removed.
                Err(error @ StoreError::Disk(_)) => return Err(error),
                // It cannot be read, whatever is kept for it.
                Err(_) => None,
            };
            if let Some(parent) = next {
                going.remove(&parent);
            }
        }
        Ok(())
    }
}
