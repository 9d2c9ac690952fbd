//! A store of snapshots over a disk that fails at any moment, and over a real folder.

#![cfg(feature = "std")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that panics has failed")]

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use bb_ir::program::{Graph, Program, Region, RegionKind, Target};
use bb_runtime::snapshot::{Disk, SnapshotStore, StoreError};
use bb_runtime::{CompiledModel, Config, Node, NodeSnapshot, PeerId, RestoreError, install};

/// A node that differs from others of its kind by `mark`.
fn node(mark: u64) -> Node {
    let region = Region { kind: RegionKind::Entry, graph: Graph::default() };
    let target = Target { name: "None".to_owned(), class: "None".to_owned(), regions: vec![region] };
    let program = Program { name: "None".to_owned(), opset: 21, targets: vec![target], ..Program::default() };
    let model = CompiledModel::new(program, BTreeMap::new());
    let mut node = install(PeerId::from_u64(1), [], model, &["None"], Config::new()).unwrap();
    node.add_peer(PeerId::from_u64(1_000 + mark), []).unwrap();
    node
}

fn snapshot(mark: u64) -> NodeSnapshot {
    node(mark).snapshot().unwrap()
}

/// How a disk fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// Nothing happens, and it says so.
    Refused,
    /// Half of what is written is there.
    Torn,
    /// It happens, and the disk says that it did not.
    Silent,
}

/// A disk in memory; operation number `fails_at` and all after it fail.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    done: usize,
    fails_at: Option<(usize, Fault)>,
}

impl Memory {
    fn act<T>(
        &self,
        act: impl FnOnce(&mut BTreeMap<String, Vec<u8>>, bool) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.0.lock().unwrap();
        state.done += 1;
        let fault = state.fails_at.filter(|(at, _)| state.done > *at).map(|(_, fault)| fault);
        let failed = || Err(io::Error::other("the disk is gone"));
        match fault {
            None => act(&mut state.files, false),
            Some(Fault::Refused) => failed(),
            Some(fault) => {
                // Later operations do not happen at all.
                if state.fails_at.is_some_and(|(at, _)| state.done == at + 1) {
                    act(&mut state.files, fault == Fault::Torn)?;
                }
                failed()
            }
        }
    }
}

impl Disk for Memory {
    fn list(&mut self) -> io::Result<Vec<String>> {
        self.act(|files, _| Ok(files.keys().cloned().collect()))
    }
    fn read(&mut self, name: &str) -> io::Result<Vec<u8>> {
        self.act(|files, _| files.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into()))
    }
    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.act(|files, torn| {
            let end = if torn { bytes.len() / 2 } else { bytes.len() };
            files.insert(name.to_owned(), bytes[..end].to_vec());
            Ok(())
        })
    }
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.act(|files, _| {
            let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), bytes);
            Ok(())
        })
    }
    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.act(|files, _| files.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }
    fn sync(&mut self) -> io::Result<()> {
        self.act(|_, _| Ok(()))
    }
}

#[test]
fn whenever_the_disk_goes_the_newest_acknowledged_snapshot_is_found() {
    let snapshots: Vec<NodeSnapshot> = (0..6).map(snapshot).collect();
    for fault in [Fault::Refused, Fault::Torn, Fault::Silent] {
        for fails_at in 1..60 {
            let disk = Memory::default();
            disk.0.lock().unwrap().fails_at = Some((fails_at, fault));
            let mut acknowledged = None;
            let mut tried = None;
            if let Ok(mut store) = SnapshotStore::on(disk.clone(), 2) {
                for (number, snapshot) in snapshots.iter().enumerate() {
                    tried = Some(number);
                    match store.save(snapshot) {
                        Ok(saved) => acknowledged = Some((number, saved)),
                        Err(_) => break,
                    }
                }
            }
            // The machine comes back.
            disk.0.lock().unwrap().fails_at = None;
            let mut store = SnapshotStore::on(disk.clone(), 2).unwrap();
            let found = store.newest().unwrap();
            match (acknowledged, found) {
                (None, None) => {}
                (acknowledged, Some(found)) => {
                    let newest = snapshots.iter().position(|held| *held == found.snapshot).unwrap();
                    assert!(
                        acknowledged.is_none_or(|(number, _)| newest >= number),
                        "{fault:?} at {fails_at}"
                    );
                    assert!(Some(newest) <= tried);
                    let saved = store.save(&snapshots[0]).unwrap();
                    assert!(acknowledged.is_none_or(|(_, number)| saved > number));
                }
                (Some(_), None) => panic!("{fault:?} at {fails_at}: an acknowledged snapshot is lost"),
            }
            let left =
                disk.0.lock().unwrap().files.keys().filter(|name| name.ends_with(".unfinished")).count();
            assert_eq!(left, 0);
        }
    }
}

#[test]
fn a_damaged_snapshot_is_passed_over_and_named() {
    let disk = Memory::default();
    let mut store = SnapshotStore::on(disk.clone(), 3).unwrap();
    assert!(store.newest().unwrap().is_none());
    for mark in 0..5 {
        assert_eq!(store.save(&snapshot(mark)).unwrap(), mark);
    }
    assert_eq!(store.numbers().unwrap(), [2, 3, 4]);
    let damage = |number: usize| {
        let mut state = disk.0.lock().unwrap();
        let bytes = state.files.values_mut().nth(number).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    };
    damage(2);
    let found = store.newest().unwrap().unwrap();
    assert_eq!((found.number, found.damaged[0].0), (3, 4));
    assert_eq!(found.snapshot, snapshot(3));
    damage(0);
    damage(1);
    let error = store.newest().unwrap_err();
    assert!(matches!(&error, StoreError::NoneVerifies { damaged } if damaged.len() == 3), "{error}");
    assert!(matches!(SnapshotStore::on(disk, 0), Err(StoreError::KeepsNone)));
}

#[test]
fn a_store_with_a_key_takes_its_own_only() {
    let disk = Memory::default();
    let mut open = SnapshotStore::on(disk.clone(), 3).unwrap();
    open.save(&snapshot(0)).unwrap();
    let mut store = SnapshotStore::on(disk.clone(), 3).unwrap().with_key([3; 32]);
    assert!(matches!(
        store.newest(),
        Err(StoreError::NoneVerifies { damaged }) if matches!(damaged[0].1, RestoreError::BadSignature)
    ));
    store.save(&snapshot(1)).unwrap();
    let found = store.newest().unwrap().unwrap();
    assert_eq!(
        found.snapshot.encode_with_key(&[3; 32]).unwrap(),
        snapshot(1).encode_with_key(&[3; 32]).unwrap()
    );
    assert!(found.snapshot.is_signed());
}

#[test]
fn a_folder_keeps_the_last_ones() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nested").join("state");
    let mut store = SnapshotStore::open(&path, 2).unwrap();
    for mark in 0..4 {
        store.save(&snapshot(mark)).unwrap();
    }
    std::fs::write(path.join("00000000000000000009.bbsnap.unfinished"), b"half").unwrap();
    std::fs::write(path.join("notes.txt"), b"not ours").unwrap();
    let mut again = SnapshotStore::open(&path, 2).unwrap();
    assert_eq!(again.numbers().unwrap(), [2, 3]);
    let mut restored = node(9);
    restored.restore(again.newest().unwrap().unwrap().snapshot).unwrap();
    assert_eq!(restored.state_digest().unwrap(), node(3).state_digest().unwrap());
    assert!(path.join("notes.txt").exists());
    let file = path.join("notes.txt");
    assert!(matches!(SnapshotStore::open(&file, 2), Err(StoreError::Io { .. })));
}

#[test]
fn numbers_that_are_used_up_are_told() {
    let disk = Memory::default();
    let name = |number: u64| format!("{number:020}.bbsnap");
    disk.0.lock().unwrap().files.insert(name(u64::MAX - 1), Vec::new());
    let mut last = SnapshotStore::on(disk.clone(), 3).unwrap();
    assert!(matches!(last.save(&snapshot(0)), Err(StoreError::NumbersUsedUp)));
    assert_eq!(last.numbers().unwrap(), [u64::MAX - 1], "nothing was written");
    disk.0.lock().unwrap().files.insert(name(u64::MAX), Vec::new());
    assert!(matches!(SnapshotStore::on(disk, 3), Err(StoreError::NumbersUsedUp)));
}
