//! Stored heaps on the disk: one file each, named by the heap, in 256 directories.
//!
//! # Contract
//! * A file under its name is whole, and outlives a loss of power once [`Disk::write`] has returned: it
//!   is written under another name, synced, renamed, and its directory is synced.
//! * What a crash left under another name is removed when the directory is opened.
//! * The time of a file says when its heap was last stored, or found to be stored already
//!   (to [`TOUCH_AFTER`]); see `sweep`.
//! * All calls block.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mcp_v8_cluster::hex;
use mcp_v8_cluster::store::room::Room;
use parking_lot::{Mutex, RwLock, RwLockWriteGuard};
use uuid::Uuid;

use crate::heaps::HeapId;

/// Ends the names of files that are being written.
const PARTIAL: &str = ".partial";

/// Whom the files are for: the server alone.
const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;

/// How old the time of a file is allowed to be before it is set anew.
const TOUCH_AFTER: Duration = Duration::from_secs(60);

/// Ends the names of files that were damaged, for people to look at.
const DAMAGED: &str = ".damaged";

/// The directory of stored heaps.
#[derive(Debug)]
pub struct Disk {
    path: PathBuf,
    /// Held by many who store heaps, and alone by who removes them.
    storing: RwLock<()>,
    /// When heaps were stored, or found to be, in the life of this process: its clock does not jump.
    stored: Mutex<HashMap<HeapId, Instant>>,
}

/// A file of a heap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeapFileEntry {
    /// The heap.
    pub id: HeapId,
    /// Bytes it takes.
    pub bytes: u64,
    /// When it was stored, or asked for by who would have stored it.
    pub modified: SystemTime,
}

impl Disk {
    /// Opens or makes it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        make_directory(path)?;
        // `heaps` and what is in it may have been made a moment ago. What is not ours to read was not.
        for above in path.ancestors().skip(1).take(2).filter(|above| *above != Path::new("")) {
            match sync_directory(above) {
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
                synced => synced?,
            }
        }
        for shard in 0..=u8::MAX {
            let shard = path.join(hex::encode(&[shard]));
            make_directory(&shard)?;
            for entry in fs::read_dir(&shard)? {
                let entry = entry?;
                if entry.file_name().to_string_lossy().ends_with(PARTIAL) {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        sync_directory(path)?;
        Ok(Self { path: path.to_owned(), storing: RwLock::new(()), stored: Mutex::default() })
    }

    /// Where a heap is.
    fn file(&self, id: HeapId) -> PathBuf {
        self.path.join(hex::encode(&id.0[..1])).join(id.to_string())
    }

    /// Makes a file durable under the name of its heap, which is stored against `parent`; says how many
    /// bytes it has. `None` when the parent is not there any more.
    ///
    /// # Errors
    /// What the file system or `write` says; then nothing is under the name that was not before.
    pub fn write(
        &self,
        id: HeapId,
        parent: Option<HeapId>,
        write: impl FnOnce(&mut io::BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<Option<u64>> {
        let Unfinished { partial, file } = self.begin(id)?;
        let mut file = io::BufWriter::new(file);
        write(&mut file)?;
        file.flush()?;
        let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
        self.finish(id, parent, Unfinished { partial, file })
    }

    /// Bytes of the file of a heap, which is durable, if there is one.
    ///
    /// # Errors
    /// What the file system says.
    pub fn known(&self, id: HeapId) -> io::Result<Option<u64>> {
        let path = self.file(id);
        let _storing = self.storing.read();
        match fs::metadata(&path) {
            Ok(known) => {
                self.stored.lock().insert(id, Instant::now());
                let now = SystemTime::now();
                if known.modified()? + TOUCH_AFTER < now {
                    let file = File::open(&path)?;
                    file.set_modified(now)?;
                    // Or a loss of power would make it old again.
                    file.sync_all()?;
                }
                // Another may have renamed it a moment ago and not synced yet.
                sync_directory(path.parent().unwrap_or(&self.path))?;
                Ok(Some(known.len()))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Begins the file of a heap under another name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(&self, id: HeapId) -> io::Result<Unfinished> {
        let path = self.file(id);
        // The directories were made when this was opened.
        let directory = path.parent().unwrap_or(&self.path);
        let partial = Partial(directory.join(format!("{}{PARTIAL}", Uuid::new_v4().simple())));
        let mut options = File::options();
        options.read(true).write(true).create_new(true).mode(FILE_MODE);
        Ok(Unfinished { file: options.open(&partial.0)?, partial })
    }

    /// Makes a file durable under the name of its heap, which is stored against `parent`; says how many
    /// bytes it has. `None` when the parent is not there any more.
    ///
    /// # Errors
    /// What the file system says; then nothing is under the name that was not before.
    pub fn finish(
        &self,
        id: HeapId,
        parent: Option<HeapId>,
        unfinished: Unfinished,
    ) -> io::Result<Option<u64>> {
        let path = self.file(id);
        unfinished.file.sync_all()?;
        let bytes = unfinished.file.metadata()?.len();
        let _storing = self.storing.read();
        if parent.is_some_and(|parent| !self.file(parent).exists()) {
            return Ok(None);
        }
        self.stored.lock().insert(id, Instant::now());
        fs::rename(&unfinished.partial.0, &path)?;
        sync_directory(path.parent().unwrap_or(&self.path))?;
        Ok(Some(bytes))
    }

    /// Heaps that were stored, or found to be, no longer ago than this. Forgets the others.
    pub fn stored_within(&self, time: Duration) -> HashSet<HeapId> {
        let mut stored = self.stored.lock();
        stored.retain(|_, at| at.elapsed() <= time);
        stored.keys().copied().collect()
    }

    /// Refuses when so many bytes more would leave too little of the disk: less than twice what is kept
    /// free for the log (see `mcp_v8_cluster::node::room`), so that heaps never take that.
    ///
    /// # Errors
    /// [`io::ErrorKind::StorageFull`].
    pub fn check_room(&self, bytes: u64) -> io::Result<()> {
        fits(Room::of(&self.path)?, bytes)
    }

    /// Held while files are removed: nothing is stored meanwhile.
    pub fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.storing.write()
    }

    /// Gives a file another name, under which nobody finds it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn set_aside(&self, id: HeapId) -> io::Result<()> {
        match fs::rename(self.file(id), self.aside(id)) {
            // Another was first.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            renamed => renamed,
        }
    }

    /// Gives such a file its name again, unless there is another one of that name.
    ///
    /// # Errors
    /// What the file system says.
    pub fn put_back(&self, id: HeapId) -> io::Result<()> {
        match fs::hard_link(self.aside(id), self.file(id)) {
            Ok(()) => fs::remove_file(self.aside(id)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn aside(&self, id: HeapId) -> PathBuf {
        let mut aside = self.file(id).into_os_string();
        aside.push(DAMAGED);
        aside.into()
    }

    /// Opens the file of a heap; `None` when there is none.
    ///
    /// # Errors
    /// What the file system says.
    pub fn read(&self, id: HeapId) -> io::Result<Option<File>> {
        match File::open(self.file(id)) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Removes the file of a heap, if there is one; says whether there was.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self, id: HeapId) -> io::Result<bool> {
        match fs::remove_file(self.file(id)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Every heap that has a file. Files of other names are not ours.
    ///
    /// # Errors
    /// What the file system says.
    pub fn list(&self) -> io::Result<Vec<HeapFileEntry>> {
        let mut found = Vec::new();
        for shard in 0..=u8::MAX {
            for entry in fs::read_dir(self.path.join(hex::encode(&[shard])))? {
                let entry = entry?;
                let name = entry.file_name();
                let Some(id) = hex::decode_array(name.as_encoded_bytes()) else { continue };
                match entry.metadata() {
                    Ok(metadata) => found.push(HeapFileEntry {
                        id: HeapId(id),
                        bytes: metadata.len(),
                        modified: metadata.modified()?,
                    }),
                    // Removed meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(found)
    }
}

fn fits(room: Room, bytes: u64) -> io::Result<()> {
    let (free, kept) = (room.free, 2 * room.reserve());
    if free >= kept.saturating_add(bytes) {
        return Ok(());
    }
    let problem = format!("{free} bytes are free, {kept} stay free, and the heap may take {bytes}");
    Err(io::Error::new(io::ErrorKind::StorageFull, problem))
}

/// A file that has not its name yet; removed unless it is [finished](Disk::finish).
#[derive(Debug)]
pub struct Unfinished {
    // Removed before it is closed, by its place here.
    partial: Partial,
    /// What is written.
    pub file: File,
}

/// Removed unless it was renamed.
#[derive(Debug)]
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path)
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read(disk: &Disk, id: HeapId) -> Option<String> {
        let mut text = String::new();
        disk.read(id).unwrap()?.read_to_string(&mut text).unwrap();
        Some(text)
    }

    fn listed(disk: &Disk) -> Vec<(HeapId, u64)> {
        disk.list().unwrap().iter().map(|file| (file.id, file.bytes)).collect()
    }

    #[test]
    fn a_heap_fits_to_the_last_byte_above_twice_the_reserve_and_not_one_further() {
        let room = |free| Room { free, total: 1 << 40 };
        let kept = 2 * room(0).reserve();
        assert!(fits(room(kept + 100), 100).is_ok());
        let full = fits(room(kept + 99), 100).unwrap_err();
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
        assert!(full.to_string().contains("may take 100"), "{full}");
    }

    #[test]
    fn a_file_that_is_found_again_is_young_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let id = HeapId([1; 32]);
        disk.write(id, None, |out| out.write_all(b"one")).unwrap();
        let past = SystemTime::now() - 2 * TOUCH_AFTER;
        File::open(disk.file(id)).unwrap().set_modified(past).unwrap();
        assert_eq!(disk.list().unwrap()[0].modified, past);
        disk.known(id).unwrap();
        assert!(disk.list().unwrap()[0].modified > past + TOUCH_AFTER);
    }

    #[test]
    fn what_was_written_is_read_listed_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(&dir.path().join("a/heaps")).unwrap();
        let (one, two) = (HeapId([1; 32]), HeapId([0xfe; 32]));
        let write = |id, parent, bytes: &[u8]| disk.write(id, parent, |out| out.write_all(bytes));
        assert_eq!(write(one, None, b"one").unwrap(), Some(3));
        assert_eq!(write(two, Some(one), b"second").unwrap(), Some(6));
        assert_eq!(read(&disk, one).as_deref(), Some("one"));
        assert_eq!(listed(&disk), [(one, 3), (two, 6)]);
        assert_eq!(
            (disk.known(one).unwrap(), disk.known(HeapId([2; 32])).unwrap()),
            (Some(3), None)
        );
        assert!(disk.remove(one).unwrap() && !disk.remove(one).unwrap());
        assert_eq!(read(&disk, one), None);
        assert_eq!(listed(&disk), [(two, 6)]);
        assert_eq!(write(HeapId([2; 32]), Some(one), b"x").unwrap(), None, "what it needs is gone");
        disk.set_aside(two).unwrap();
        disk.set_aside(two).unwrap();
        assert_eq!(listed(&disk), []);
        disk.put_back(two).unwrap();
        disk.put_back(two).unwrap();
        assert_eq!(listed(&disk), [(two, 6)]);
    }

    #[test]
    fn what_fails_leaves_nothing_and_what_a_crash_left_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        let id = HeapId([3; 32]);
        let failed = disk.write(id, None, |out| {
            out.write_all(b"half")?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
        let shard = dir.path().join("03");
        assert_eq!(fs::read_dir(&shard).unwrap().count(), 0);
        let left = shard.join(format!("x{PARTIAL}"));
        fs::write(&left, "left").unwrap();
        fs::write(shard.join("README"), "not ours").unwrap();
        let disk = Disk::open(dir.path()).unwrap();
        assert!(!left.exists() && shard.join("README").exists());
        assert_eq!(listed(&disk), []);
    }
}
