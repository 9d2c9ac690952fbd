//! A disk in memory that fails when it is told to.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Error, ErrorKind, Result};
use std::rc::Rc;

use bytesandbrains::runtime::snapshot::Disk;

/// A disk that outlives the processes that use it; a clone is the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct FaultyDisk(Rc<RefCell<Files>>);

/// Files by name, and how the next write fails.
#[derive(Debug, Default)]
struct Files {
    files: BTreeMap<String, Vec<u8>>,
    fails: Option<WriteFault>,
}

/// How a write fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteFault {
    /// There is no room.
    Full,
    /// A part is written, and the disk says so.
    Short,
    /// A part is written and the rest is something else, and the disk says nothing.
    Torn,
}

impl FaultyDisk {
    pub(super) fn fail_next_write(&self, fault: Option<WriteFault>) {
        self.0.borrow_mut().fails = fault;
    }
}

impl Disk for FaultyDisk {
    fn list(&mut self) -> Result<Vec<String>> {
        Ok(self.0.borrow().files.keys().cloned().collect())
    }

    fn read(&mut self, name: &str) -> Result<Vec<u8>> {
        self.0.borrow().files.get(name).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let half = bytes.len() / 2;
        let mut disk = self.0.borrow_mut();
        let fault = disk.fails.take();
        let written = match fault {
            None => bytes.to_vec(),
            Some(WriteFault::Full) => return Err(ErrorKind::StorageFull.into()),
            Some(WriteFault::Short) => bytes[..half].to_vec(),
            Some(WriteFault::Torn) => {
                let mut torn = bytes.to_vec();
                torn[half..].fill(0xA5);
                torn
            }
        };
        disk.files.insert(name.to_owned(), written);
        if fault == Some(WriteFault::Short) { Err(Error::from(ErrorKind::WriteZero)) } else { Ok(()) }
    }

    fn rename(&mut self, from: &str, to: &str) -> Result<()> {
        let mut disk = self.0.borrow_mut();
        let bytes = disk.files.remove(from).ok_or(ErrorKind::NotFound)?;
        disk.files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> Result<()> {
        self.0.borrow_mut().files.remove(name).map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn sync(&mut self) -> Result<()> {
        Ok(())
    }
}
