//! Snapshots on disk: the newest that verifies is always there, whenever the process or the power went.
//!
//! The one place of the runtime that opens files; a host that keeps snapshots elsewhere needs only
//! [`NodeSnapshot::encode`] and [`NodeSnapshot::decode`].

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{NodeSnapshot, RestoreError};

/// What the name of a snapshot ends with.
const SUFFIX: &str = ".bbsnap";
/// What the name of a file ends with that is being written.
const UNFINISHED: &str = ".unfinished";

/// A folder of files, as a [`SnapshotStore`] needs it.
pub trait Disk {
    /// The names of all files.
    ///
    /// # Errors
    /// The folder cannot be read.
    fn list(&mut self) -> io::Result<Vec<String>>;
    /// The bytes of a file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>>;
    /// Makes a file, writes all bytes, and returns once the disk has them.
    ///
    /// # Errors
    /// Not all bytes are on the disk.
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name, in one step.
    ///
    /// # Errors
    /// The file has its old name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The file may still be there.
    fn remove(&mut self, name: &str) -> io::Result<()>;
    /// Returns once the disk has the names of all files.
    ///
    /// # Errors
    /// Names may be lost when the power goes.
    fn sync(&mut self) -> io::Result<()>;
}

/// A folder of the file system.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

/// Keeps the last snapshots of one node, each written whole or not at all.
///
/// A snapshot is written to a file of its own, which gets its name once the disk has it; then the disk must have the
/// name; only then older ones are removed. One store at a time may use a folder.
///
/// ```no_run
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let mut node: bb_runtime::Node = unreachable!();
/// use bb_runtime::snapshot::SnapshotStore;
/// let mut store = SnapshotStore::open("state", 3)?;
/// if let Some(found) = store.newest()? {
///     node.restore(found.snapshot)?;
/// }
/// store.save(&node.snapshot()?)?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct SnapshotStore<D = Folder> {
    disk: D,
    keep: usize,
    key: Option<[u8; 32]>,
    /// The number of the next snapshot.
    next: u64,
}

/// A snapshot that a [`SnapshotStore`] has.
#[derive(Debug)]
pub struct Found {
    /// Its number: each has a higher one than those before.
    pub number: u64,
    /// The snapshot.
    pub snapshot: NodeSnapshot,
    /// Newer ones that did not verify, with what is wrong with them.
    pub damaged: Vec<(u64, RestoreError)>,
}

/// Why a snapshot was not kept or found.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The disk.
    #[error("{action} `{name}`: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file or folder.
        name: String,
        /// What the disk said.
        source: io::Error,
    },
    /// A store that keeps none.
    #[error("a store keeps at least one snapshot")]
    KeepsNone,
    /// There are snapshots, and none of them verifies.
    #[error("none of {} snapshots verifies; the newest: {}", damaged.len(), damaged[0].1)]
    NoneVerifies {
        /// All of them, the newest first, with what is wrong.
        damaged: Vec<(u64, RestoreError)>,
    },
    /// All numbers are used up.
    #[error("there is no number left for another snapshot")]
    NumbersUsedUp,
}

impl SnapshotStore<Folder> {
    /// A store in a folder, made if it is not there, that keeps the last `keep` snapshots.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn open(folder: impl AsRef<Path>, keep: usize) -> Result<Self, StoreError> {
        let folder = folder.as_ref();
        fs::create_dir_all(folder).map_err(|source| StoreError::Io {
            action: "make the folder",
            name: folder.display().to_string(),
            source,
        })?;
        Self::on(Folder(folder.to_owned()), keep)
    }
}

impl<D: Disk> SnapshotStore<D> {
    /// A store on any disk that keeps the last `keep` snapshots; what was not finished is removed.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn on(mut disk: D, keep: usize) -> Result<Self, StoreError> {
        if keep == 0 {
            return Err(StoreError::KeepsNone);
        }
        let names = disk.list().map_err(at("list", "the folder"))?;
        for name in names.iter().filter(|name| name.ends_with(UNFINISHED)) {
            disk.remove(name).map_err(at("remove", name))?;
        }
        let newest = names.iter().filter_map(|name| number_of(name)).max();
        let next = newest.map_or(Some(0), |number| number.checked_add(1)).ok_or(StoreError::NumbersUsedUp)?;
        Ok(Self { disk, keep, key: None, next })
    }

    /// Writes snapshots with a keyed hash, and takes no others.
    #[must_use]
    pub fn with_key(mut self, key: [u8; 32]) -> Self {
        self.key = Some(key);
        self
    }

    /// Keeps a snapshot; its number. When this returns it is on the disk, and older ones than the last few are gone.
    ///
    /// # Errors
    /// [`StoreError`]; the snapshots before are still there, and this one may be too if only the removal of others
    /// failed.
    pub fn save(&mut self, snapshot: &NodeSnapshot) -> Result<u64, StoreError> {
        let number = self.next;
        let next = number.checked_add(1).ok_or(StoreError::NumbersUsedUp)?;
        let name = name_of(number);
        let unfinished = format!("{name}{UNFINISHED}");
        let written = match &self.key {
            Some(key) => snapshot
                .encode_with_key(key)
                .map_err(|error| io::Error::new(io::ErrorKind::OutOfMemory, error))
                .and_then(|bytes| self.disk.write(&unfinished, &bytes)),
            None => self.disk.write(&unfinished, &snapshot.encode()),
        };
        if let Err(source) = written {
            // Whatever is there of it goes; left over, the next `open` removes it.
            let removed = self.disk.remove(&unfinished);
            tracing::debug!(name, ?removed, "a snapshot was not written");
            return Err(at("write", &unfinished)(source));
        }
        // From here on the name may be taken, whatever fails.
        self.next = next;
        self.disk.rename(&unfinished, &name).map_err(at("rename", &unfinished))?;
        self.disk.sync().map_err(at("sync", "the folder"))?;
        self.remove_old()?;
        Ok(number)
    }

    /// The newest snapshot that verifies; none if there are no snapshots.
    ///
    /// # Errors
    /// [`StoreError::Io`]; [`StoreError::NoneVerifies`] if there are some, but all are damaged.
    pub fn newest(&mut self) -> Result<Option<Found>, StoreError> {
        let mut damaged = Vec::new();
        for number in self.numbers()?.into_iter().rev() {
            let name = name_of(number);
            let bytes = self.disk.read(&name).map_err(at("read", &name))?;
            let decoded = match &self.key {
                Some(key) => NodeSnapshot::decode_with_key(bytes, key),
                None => NodeSnapshot::decode(bytes),
            };
            match decoded {
                Ok(snapshot) => return Ok(Some(Found { number, snapshot, damaged })),
                Err(error) => damaged.push((number, error)),
            }
        }
        if damaged.is_empty() { Ok(None) } else { Err(StoreError::NoneVerifies { damaged }) }
    }

    /// The numbers of all snapshots that are kept, the oldest first.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn numbers(&mut self) -> Result<Vec<u64>, StoreError> {
        let names = self.disk.list().map_err(at("list", "the folder"))?;
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn remove_old(&mut self) -> Result<(), StoreError> {
        let numbers = self.numbers()?;
        for number in numbers.iter().take(numbers.len().saturating_sub(self.keep)) {
            let name = name_of(*number);
            self.disk.remove(&name).map_err(at("remove", &name))?;
        }
        Ok(())
    }
}

impl Disk for Folder {
    fn list(&mut self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.0)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        fs::read(self.0.join(name))
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = File::create(self.0.join(name))?;
        file.write_all(bytes)?;
        file.sync_all()
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.0.join(from), self.0.join(to))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        fs::remove_file(self.0.join(name))
    }

    /// Folders are files on Unix; elsewhere names are on the disk when they are given.
    fn sync(&mut self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.0)?.sync_all() } else { Ok(()) }
    }
}

fn name_of(number: u64) -> String {
    format!("{number:020}{SUFFIX}")
}

fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 20)?;
    digits.parse().ok()
}

fn at(action: &'static str, name: &str) -> impl FnOnce(io::Error) -> StoreError {
    let name = name.to_owned();
    move |source| StoreError::Io { action, name, source }
}
