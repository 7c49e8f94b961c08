//! A disk that the tests own: it knows what is durable and what is merely written, loses power, and fails as disks do.
//!
//! [`Medium`] is the disk; a [`Mount`] is what one process sees of it, with faults at its n-th call. Writing changes the page
//! cache; a sync makes it durable; a power loss keeps of the rest what chance allows. Names behave alike: they are durable after
//! the sync of their directory. A sync that fails drops what it could not write, and the next one says yes, as on Linux.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;

use super::disk::{Disk, DiskFile};
use crate::grid::random::mix;

/// Numbers that follow from a seed.
#[derive(Debug, Clone)]
pub(super) struct Random(pub u64);

impl Random {
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = mix(self.0);
        (self.0 % bound.max(1) as u64) as usize
    }

    /// Once in so many times.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    pub fn choose<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fault {
    /// It fails and does nothing; a sync drops what it should have written.
    Fails(Errno),
    /// It is done, and reported as failed.
    DoneButFails(Errno),
    /// A read or a write does half of it.
    Short,
    /// A write reaches the page cache and never the disk.
    Loses,
    /// A write has a bit flipped on its way.
    Flips,
    /// The process is dead before it.
    Dies,
}

/// The verbs of a disk, as the trace has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verb {
    Create,
    Open,
    Rename,
    Remove,
    Names,
    SyncDirectory,
    Inode,
    Free,
    Read,
    Write,
    Length,
    Reserve,
    Sync,
    Forget,
}

#[derive(Debug, Clone)]
enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Length(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Change::Length(length) => to.resize(*length, 0),
            Change::Bytes { at, bytes } => {
                to.resize(to.len().max(at + bytes.len()), 0);
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
        }
    }

    /// Applies some of its sectors or pages.
    fn tear(&self, to: &mut Vec<u8>, unit: usize, random: &mut Random) {
        let Change::Bytes { at, bytes } = self else { return };
        let mut done = 0;
        while done < bytes.len() {
            let count = (unit - (at + done) % unit).min(bytes.len() - done);
            if random.once_in(2) {
                Change::Bytes { at: at + done, bytes: bytes[done..done + count].to_vec() }.apply(to);
            }
            done += count;
        }
    }
}

#[derive(Debug, Clone, Default)]
struct Content {
    cached: Vec<u8>,
    stable: Vec<u8>,
    unsynced: Vec<Change>,
    space: usize,
}

/// A change of names that its directory's sync makes durable.
#[derive(Debug, Clone)]
struct Renaming {
    gone: Option<PathBuf>,
    new: Option<(PathBuf, u64)>,
}

impl Renaming {
    /// Takes the old name away and gives the new one, or one of both.
    fn apply(self, names: &mut BTreeMap<PathBuf, u64>, old: bool, new: bool) {
        if let Some(gone) = self.gone.filter(|_| old) {
            names.remove(&gone);
        }
        if let Some((path, inode)) = self.new.filter(|_| new) {
            names.insert(path, inode);
        }
    }
}

#[derive(Debug, Clone, Default)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<PathBuf, u64>,
    lasting: BTreeMap<PathBuf, u64>,
    unsynced: Vec<Renaming>,
    capacity: Option<usize>,
    refuses: Option<Errno>,
    calls: usize,
    off_at: Option<usize>,
    history: Vec<Deed>,
}

/// A name that was given or taken, or a directory that was listed, and by a process of which epoch.
#[derive(Debug, Clone)]
pub(super) struct Deed {
    pub epoch: u64,
    pub verb: Verb,
    pub path: PathBuf,
}

/// The disk.
#[derive(Clone, Default)]
pub(super) struct Medium(Arc<Mutex<State>>);

impl Medium {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Another disk with the same content.
    pub fn copy(&self) -> Medium {
        Medium(Arc::new(Mutex::new(self.state().clone())))
    }

    /// What a new process of an epoch sees of it.
    pub fn mount(&self, epoch: u64) -> Mount {
        Mount { medium: self.clone(), process: Arc::default(), epoch }
    }

    /// Loses power before a call, counted from now: no process does anything any more.
    pub fn cut_power_after(&self, calls: usize) {
        let mut state = self.state();
        state.off_at = Some(state.calls + calls);
    }

    /// Loses no power any more.
    pub fn keep_power(&self) {
        self.state().off_at = None;
    }

    /// Gives the disk a size in bytes.
    pub fn resize(&self, capacity: Option<usize>) {
        self.state().capacity = capacity;
    }

    /// Refuses every change from now on, as a file system does that was remounted read-only (`EROFS`) or has vanished
    /// (`ENOENT`).
    pub fn refuse(&self, errno: Option<Errno>) {
        self.state().refuses = errno;
    }

    /// The bytes in use.
    pub fn used(&self) -> usize {
        self.state().used()
    }

    /// The files as processes see them.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let state = self.state();
        state.names.iter().map(|(path, inode)| (path.clone(), state.files[inode].cached.clone())).collect()
    }

    /// Flips a bit of a file where it lies.
    pub fn damage(&self, path: &Path, bit: usize) {
        let mut state = self.state();
        let inode = state.names[path];
        let content = state.files.get_mut(&inode).unwrap();
        for bytes in [&mut content.cached, &mut content.stable] {
            let place = bit / 8 % bytes.len();
            bytes[place] ^= 1 << (bit % 8);
        }
    }

    /// What changed names so far, in order.
    pub fn history(&self) -> Vec<Deed> {
        self.state().history.clone()
    }

    /// Whether the power has failed.
    pub fn is_off(&self) -> bool {
        let state = self.state();
        state.off_at.is_some_and(|at| state.calls >= at)
    }

    /// What is found after the power came back: of what was not synced, what chance kept.
    pub fn after_power_loss(&self, seed: u64) -> Medium {
        let mut state = self.state().clone();
        let mut random = Random(seed);
        let whole = random.below(5);
        let survives = |random: &mut Random| match whole {
            0 => false,
            1 => true,
            _ => random.once_in(2),
        };
        let unit = random.choose(&[512, 4096]);
        for content in state.files.values_mut() {
            let (mut stable, in_order) =
                (std::mem::take(&mut content.stable), random.below(content.unsynced.len() + 1));
            for (i, change) in content.unsynced.drain(..).enumerate() {
                match whole {
                    2 if i < in_order => change.apply(&mut stable),
                    2 => {}
                    _ if survives(&mut random) => change.apply(&mut stable),
                    3 => {}
                    _ if whole == 4 => change.tear(&mut stable, unit, &mut random),
                    _ => {}
                }
            }
            content.cached = stable.clone();
            content.stable = stable;
        }
        let (mut lasting, in_order) = (state.lasting, random.below(state.unsynced.len() + 1));
        for (i, renaming) in state.unsynced.drain(..).enumerate() {
            // A journal keeps the order; where there is none, even the halves of a renaming may come apart.
            let (half, other) = match whole {
                2 => (i < in_order, i < in_order),
                _ => (survives(&mut random), survives(&mut random)),
            };
            renaming.apply(&mut lasting, half, other);
        }
        let files = &mut state.files;
        files.retain(|inode, _| lasting.values().any(|lasting| lasting == inode));
        let (names, files) = (lasting.clone(), std::mem::take(files));
        Medium(Arc::new(Mutex::new(State { files, names, lasting, capacity: state.capacity, ..State::default() })))
    }
}

impl State {
    fn used(&self) -> usize {
        let linked: BTreeSet<_> = self.names.values().collect();
        linked.iter().map(|inode| self.files[inode].space).sum()
    }

    /// Takes the space of a file's first bytes.
    fn take_space(&mut self, inode: u64, length: usize) -> io::Result<()> {
        let taken = self.files[&inode].space;
        if length > taken && self.capacity.is_some_and(|capacity| self.used() - taken + length > capacity) {
            return Err(Errno::ENOSPC.into());
        }
        self.files.get_mut(&inode).unwrap().space = length.max(taken);
        Ok(())
    }

    fn change(&mut self, inode: u64, change: Change) {
        let content = self.files.get_mut(&inode).unwrap();
        change.apply(&mut content.cached);
        content.unsynced.push(change);
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        self.names.get(path).copied().ok_or_else(|| Errno::ENOENT.into())
    }
}

type Pause = Box<dyn FnOnce() + Send>;

/// A process: how many calls it has made, what it meets at which of them, and what it did.
#[derive(Default)]
struct Process {
    calls: usize,
    faults: BTreeMap<usize, Fault>,
    pauses: BTreeMap<usize, Pause>,
    pause_before: Option<(Verb, Pause)>,
    dead: bool,
    trace: Vec<(Verb, PathBuf)>,
}

/// What one process sees of a disk.
#[derive(Clone)]
pub(super) struct Mount {
    medium: Medium,
    process: Arc<Mutex<Process>>,
    epoch: u64,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Mount")
    }
}

impl Mount {
    /// Meets a fault at a call, counted from now.
    pub fn fault_after(&self, calls: usize, fault: Fault) {
        let mut process = self.process.lock().unwrap();
        let at = process.calls + calls;
        process.faults.insert(at, fault);
    }

    /// Stands still before a call, counted from now, while others act.
    pub fn pause_after(&self, calls: usize, others: impl FnOnce() + Send + 'static) {
        let mut process = self.process.lock().unwrap();
        let at = process.calls + calls;
        process.pauses.insert(at, Box::new(others));
    }

    /// Stands still before the first call of a verb from now on, while others act.
    pub fn pause_before(&self, verb: Verb, others: impl FnOnce() + Send + 'static) {
        self.process.lock().unwrap().pause_before = Some((verb, Box::new(others)));
    }

    /// Whether the process is dead.
    pub fn is_dead(&self) -> bool {
        self.process.lock().unwrap().dead
    }

    fn note(&self, state: &mut State, verb: Verb, path: &Path) {
        state.history.push(Deed { epoch: self.epoch, verb, path: path.to_owned() });
    }

    /// What the process did, call by call.
    pub fn trace(&self) -> Vec<(Verb, PathBuf)> {
        self.process.lock().unwrap().trace.clone()
    }

    /// Another call is made: what it meets besides a failure, which is returned as such.
    fn call(&self, verb: Verb, path: &Path) -> io::Result<Option<Fault>> {
        let pause = {
            let mut process = self.process.lock().unwrap();
            let n = process.calls;
            let due = process.pause_before.take_if(|(before, _)| *before == verb).map(|(_, pause)| pause);
            due.or_else(|| process.pauses.remove(&n))
        };
        if let Some(others) = pause {
            others();
        }
        let mut process = self.process.lock().unwrap();
        let mut state = self.medium.state();
        let fault = process.faults.get(&process.calls).copied();
        if fault == Some(Fault::Dies) || state.off_at.is_some_and(|at| state.calls >= at) {
            process.dead = true;
        }
        if process.dead {
            return Err(io::Error::other("the process is dead"));
        }
        process.calls += 1;
        state.calls += 1;
        process.trace.push((verb, path.to_owned()));
        let changes =
            matches!(verb, Verb::Create | Verb::Rename | Verb::Remove | Verb::Write | Verb::Length | Verb::Reserve);
        match (fault, state.refuses) {
            // Advice is taken or not; where a disk lies as well, no reading back would notice it before a restart does.
            (Some(Fault::Fails(_)), _) if verb == Verb::Forget => Ok(None),
            (Some(Fault::Fails(errno)), _) if verb != Verb::Sync => {
                if verb == Verb::SyncDirectory {
                    // What could not be made durable is forgotten, and the next sync says yes without it.
                    state.unsynced.clear();
                }
                Err(errno.into())
            }
            (_, Some(errno)) if changes => Err(errno.into()),
            _ => Ok(fault),
        }
    }
}

/// Reports a call that is done as failed, if that is its fate.
fn reported<T>(fault: Option<Fault>, result: T) -> io::Result<T> {
    match fault {
        Some(Fault::DoneButFails(errno)) => Err(errno.into()),
        _ => Ok(result),
    }
}

impl Disk for Mount {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let fault = self.call(Verb::Create, path)?;
        let mut state = self.medium.state();
        if state.names.contains_key(path) {
            return Err(Errno::EEXIST.into());
        }
        let inode = state.files.keys().last().map_or(1, |last| last + 1);
        state.files.insert(inode, Content::default());
        state.names.insert(path.to_owned(), inode);
        state.unsynced.push(Renaming { gone: None, new: Some((path.to_owned(), inode)) });
        reported(fault, Box::new(Handle { mount: self.clone(), path: path.to_owned(), inode }))
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.call(Verb::Open, path)?;
        let inode = self.medium.state().inode(path)?;
        Ok(Box::new(Handle { mount: self.clone(), path: path.to_owned(), inode }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let fault = self.call(Verb::Rename, to)?;
        let mut state = self.medium.state();
        let inode = state.inode(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.unsynced.push(Renaming { gone: Some(from.to_owned()), new: Some((to.to_owned(), inode)) });
        self.note(&mut state, Verb::Rename, to);
        reported(fault, ())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let fault = self.call(Verb::Remove, path)?;
        let mut state = self.medium.state();
        state.inode(path)?;
        state.names.remove(path);
        state.unsynced.push(Renaming { gone: Some(path.to_owned()), new: None });
        self.note(&mut state, Verb::Remove, path);
        reported(fault, ())
    }

    fn names(&self, directory: &Path) -> io::Result<Vec<String>> {
        self.call(Verb::Names, directory)?;
        let mut state = self.medium.state();
        self.note(&mut state, Verb::Names, directory);
        let here = state.names.keys().filter(|path| path.parent() == Some(directory));
        Ok(here.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect())
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let fault = self.call(Verb::SyncDirectory, directory)?;
        let mut state = self.medium.state();
        for renaming in std::mem::take(&mut state.unsynced) {
            renaming.apply(&mut state.lasting, true, true);
        }
        reported(fault, ())
    }

    fn inode(&self, path: &Path) -> io::Result<u64> {
        self.call(Verb::Inode, path)?;
        self.medium.state().inode(path)
    }

    fn free(&self, directory: &Path) -> io::Result<Option<u64>> {
        self.call(Verb::Free, directory)?;
        let state = self.medium.state();
        Ok(state.capacity.map(|capacity| capacity.saturating_sub(state.used()) as u64))
    }
}

#[derive(Debug)]
struct Handle {
    mount: Mount,
    path: PathBuf,
    inode: u64,
}

impl Handle {
    fn call(&self, verb: Verb) -> io::Result<(Option<Fault>, MutexGuard<'_, State>)> {
        Ok((self.mount.call(verb, &self.path)?, self.mount.medium.state()))
    }
}

impl DiskFile for Handle {
    fn read_some(&self, bytes: &mut [u8], at: u64) -> io::Result<usize> {
        let (fault, state) = self.call(Verb::Read)?;
        let from = state.files[&self.inode].cached.get(at as usize..).unwrap_or_default();
        let wanted = if fault == Some(Fault::Short) { bytes.len().div_ceil(2) } else { bytes.len() };
        let count = wanted.min(from.len());
        bytes[..count].copy_from_slice(&from[..count]);
        Ok(count)
    }

    fn write_some(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let (fault, mut state) = self.call(Verb::Write)?;
        let count = if fault == Some(Fault::Short) { bytes.len().div_ceil(2) } else { bytes.len() };
        let (at, mut bytes) = (at as usize, bytes[..count].to_vec());
        if fault == Some(Fault::Flips) {
            bytes[count / 2] ^= 4;
        }
        state.take_space(self.inode, at + count)?;
        let change = Change::Bytes { at, bytes };
        if fault == Some(Fault::Loses) {
            change.apply(&mut state.files.get_mut(&self.inode).unwrap().cached);
        } else {
            state.change(self.inode, change);
        }
        Ok(count)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let (fault, mut state) = self.call(Verb::Length)?;
        state.change(self.inode, Change::Length(length as usize));
        reported(fault, ())
    }

    fn reserve(&self, length: u64) -> io::Result<()> {
        let (fault, mut state) = self.call(Verb::Reserve)?;
        state.take_space(self.inode, length as usize)?;
        reported(fault, ())
    }

    fn sync(&self) -> io::Result<()> {
        let (fault, mut state) = self.call(Verb::Sync)?;
        let content = state.files.get_mut(&self.inode).unwrap();
        let fails = match fault {
            Some(Fault::Fails(errno)) => Some(errno),
            _ => None,
        };
        for (i, change) in std::mem::take(&mut content.unsynced).into_iter().enumerate() {
            // What could be written before the failure is there, the rest is only in the page cache, which calls it clean.
            if fails.is_none() || i % 3 == 1 {
                change.apply(&mut content.stable);
            }
        }
        fails.map_or_else(|| reported(fault, ()), |errno| Err(errno.into()))
    }

    fn unsynced(&self) -> usize {
        let bytes = |change: &Change| if let Change::Bytes { bytes, .. } = change { bytes.len() } else { 0 };
        self.mount.medium.state().files[&self.inode].unsynced.iter().map(bytes).sum()
    }

    fn forget_cached(&self) {
        if let Ok((_, mut state)) = self.call(Verb::Forget) {
            let content = state.files.get_mut(&self.inode).unwrap();
            content.cached = content.stable.clone();
            for change in &content.unsynced {
                change.apply(&mut content.cached);
            }
        }
    }

    fn inode(&self) -> io::Result<u64> {
        self.call(Verb::Inode).map(|_| self.inode)
    }
}
