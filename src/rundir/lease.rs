//! Who may touch the run: a lock with an epoch, so that two launches never write into one run.
//!
//! The lock is flock(2) on a file: the kernel releases it when its holder dies, in whatever way. A file server may keep the
//! lock of a dead node; where a holder on another host has shown no life for a minute, a new file takes the old one's place. The
//! file's text tells people who holds it. The epoch counts the holders: work that was begun under one must not be
//! committed under another. It begins anew at 1 when the text is lost or damaged, so a holder that asks whether the lease
//! is still its own compares the whole text, process and time included, and takes a damaged one for a no.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::replace::{Durability, replace, with_suffix};
use crate::error::{Error, Kind, Result};
use crate::sys::process::host;

/// How long to wait for a holder that is just dying, or for a reader that just looks.
const PATIENCE: Duration = Duration::from_secs(1);

/// How long to wait when a supervisor has launched us: a rank 0 of the last attempt may still be dying on another host,
/// where its supervisor can neither see nor kill it.
const SUPERVISED_PATIENCE: Duration = Duration::from_secs(10);

/// How long a job's supervisor waits for whoever submitted it: longer than a batch system may take to answer.
const SUBMISSION: Duration = Duration::from_secs(40);

/// How long the ranks of a holder on another host must have shown no life before its lease is broken: its node may be dead,
/// and a file server may keep a dead node's lock for ever. Longer than file servers take to pass heartbeats on.
const SILENCE: Duration = Duration::from_secs(60);

/// The text has one size, so that a new one replaces the old whole within one disk sector.
const TEXT_BYTES: usize = 256;

/// Who holds a lease, or held it last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// The holder's host.
    pub host: String,
    /// The holder's process there.
    pub pid: u32,
    /// How many holders there have been, this one included, since the file's text could last not be read.
    pub epoch: u64,
    /// Since when it holds the lease.
    pub since: Timestamp,
}

/// A lease that this process holds, until it is dropped or the process dies.
#[derive(Debug)]
pub struct Lease {
    file: File,
    path: PathBuf,
    holder: Holder,
}

impl Lease {
    /// Takes the lease of the running attempt; rank 0 holds it for its whole life.
    ///
    /// # Errors
    ///
    /// A run error that names the holder, if somebody else has it; an I/O error, if the file system refuses.
    pub fn of_attempt(run: &RunDirectory) -> Result<Lease> {
        Self::for_attempt(run, PATIENCE, SILENCE, None)
    }

    /// Takes the lease of an attempt that a supervisor launched, with more patience: the last one may still be dying. The
    /// holder of the epoch that is condemned is not waited for.
    ///
    /// # Errors
    ///
    /// As [`Lease::of_attempt`].
    pub fn of_supervised_attempt(run: &RunDirectory, condemned: Option<u64>) -> Result<Lease> {
        Self::for_attempt(run, SUPERVISED_PATIENCE, SILENCE, condemned)
    }

    /// Takes the lease of the supervisor.
    ///
    /// # Errors
    ///
    /// As [`Lease::of_attempt`].
    pub fn of_supervisor(run: &RunDirectory) -> Result<Lease> {
        Self::for_supervisor(run, PATIENCE)
    }

    /// Takes the lease of the supervisor with more patience: whoever submitted it as a job may still hold it.
    ///
    /// # Errors
    ///
    /// As [`Lease::of_attempt`].
    pub fn of_submitted_supervisor(run: &RunDirectory) -> Result<Lease> {
        Self::for_supervisor(run, SUBMISSION)
    }

    fn for_supervisor(run: &RunDirectory, patience: Duration) -> Result<Lease> {
        Self::acquire(
            run.supervisor_lock(),
            patience,
            "the supervision of the run",
            "look at it with steadfast status, stop it with steadfast stop, or use another --dir; if its node is dead and the \
             file server keeps its lock, remove supervisor.lock",
        )
    }

    /// Takes the lease of the supervisor for whoever knows that the holder before is over, even if its node still holds it.
    ///
    /// # Errors
    ///
    /// As [`Lease::of_attempt`]; also if the holder is on this very node, where it can be looked for.
    pub fn inherited_from_supervisor(run: &RunDirectory, before: &Holder) -> Result<Lease> {
        let path = run.supervisor_lock();
        Self::of_supervisor(run).or_else(|held| match last_holder(&path) {
            Some(dead) if held.kind() == Kind::Run && dead == *before && dead.host != host() => {
                break_lease(&path, &dead)?;
                Self::of_supervisor(run)
            }
            _ => Err(held),
        })
    }

    /// Who holds this lease.
    pub fn holder(&self) -> &Holder {
        &self.holder
    }

    /// Who holds the lease in the file at `path` right now, if anybody does.
    pub fn holder_of(path: &Path) -> Option<Holder> {
        let mut file = File::open(path).ok()?;
        match file.try_lock_shared() {
            // Nobody does; dropping the file releases our own share at once.
            Ok(()) => None,
            Err(_) => read_holder(&mut file).ok().flatten(),
        }
    }

    /// The epoch of this lease.
    pub fn epoch(&self) -> u64 {
        self.holder.epoch
    }

    /// Whether this lease is still the newest: it is not, if somebody removed the file or took it on another machine
    /// that does not see our lock. Ask before a commit.
    ///
    /// # Errors
    ///
    /// A run error that names the new holder.
    pub fn check(&self) -> Result<()> {
        let now = File::open(&self.path).and_then(|mut file| read_holder(&mut file));
        match now {
            Ok(Some(now)) if now == self.holder => Ok(()),
            Ok(Some(now)) => Err(Error::new(
                Kind::Run,
                format!(
                    "the lease of epoch {} was taken over by process {} on {} (epoch {})",
                    self.holder.epoch, now.pid, now.host, now.epoch
                ),
            )
            .at_path(&self.path)
            .hint("another launch works on this run: this one must end")),
            Ok(None) => Err(Error::new(Kind::Run, "the lease was damaged").at_path(&self.path)),
            Err(cause) => Err(Error::io("read the lease again", &self.path, &cause)),
        }
    }

    fn for_attempt(run: &RunDirectory, patience: Duration, silence: Duration, condemned: Option<u64>) -> Result<Lease> {
        let acquire = || {
            Self::acquire(
                run.lease(),
                patience,
                "the run",
                "wait until it ends, ask it to stop (steadfast status tells more), or use another --dir",
            )
        };
        // It may go on, cut off or while it is being killed, and its lock may never be given back.
        if let Some(holder) = Self::holder_of(&run.lease()).filter(|holder| Some(holder.epoch) == condemned) {
            break_lease(&run.lease(), &holder)?;
        }
        let held = match acquire() {
            Err(held) if held.kind() == Kind::Run => held,
            outcome => return outcome,
        };
        match dead_holder(run, silence) {
            Some(holder) => {
                break_lease(&run.lease(), &holder)?;
                acquire()
            }
            None => Err(held),
        }
    }

    fn acquire(path: PathBuf, patience: Duration, what: &str, hint: &str) -> Result<Lease> {
        let refused = |cause: &io::Error| Error::io("take the lease", &path, cause);
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path);
        let mut file = open.map_err(|cause| refused(&cause))?;
        let end = Instant::now() + patience;
        while let Err(cause) = file.try_lock() {
            match cause {
                TryLockError::WouldBlock if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
                TryLockError::WouldBlock => return Err(held(&path, what, hint, read_holder(&mut file).ok().flatten())),
                TryLockError::Error(cause) => {
                    return Err(
                        refused(&cause).hint("the file system must support flock (Lustre: mount with -o flock)")
                    );
                }
            }
        }
        if !is_at(&file, &path).map_err(|cause| refused(&cause))? {
            // It was broken while we waited, and another file took its place.
            return Self::acquire(path, patience, what, hint);
        }
        let last = read_holder(&mut file).map_err(|cause| refused(&cause))?;
        let now = Timestamp::now();
        let holder = Holder {
            host: host(),
            pid: std::process::id(),
            epoch: last.map_or(0, |last| last.epoch) + 1,
            since: now.round(Unit::Second).unwrap_or(now),
        };
        write_holder(&file, &holder).map_err(|cause| refused(&cause))?;
        Ok(Lease { file, path, holder })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // Closing would release it as well; a forked child that still has the file open could keep it.
        let _ = self.file.unlock();
    }
}

/// Who holds the lease on another host, if no rank has shown life for so long.
fn dead_holder(run: &RunDirectory, silence: Duration) -> Option<Holder> {
    let found = last_holder(&run.lease()).filter(|holder| holder.host != host())?;
    // No heartbeats at all are no evidence: whoever is just starting has none either.
    let beats = || std::fs::read(run.heartbeats()).ok();
    let (before, end) = (beats()?, Instant::now() + silence);
    log::warn!("process {} on {} holds the run: waiting for a sign of life of its ranks", found.pid, found.host);
    while Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100).min(silence));
        if beats().as_ref() != Some(&before) {
            return None;
        }
    }
    (last_holder(&run.lease()) == Some(found.clone())).then_some(found)
}

/// Who wrote the lease in the file at `path` last.
fn last_holder(path: &Path) -> Option<Holder> {
    File::open(path).and_then(|mut file| read_holder(&mut file)).ok().flatten()
}

/// Puts a new file in the place of a lease whose holder is dead: its lock stays with the old file. The text stays, and with
/// it the count of the epochs, so that the holder, should it wake up, finds a later one and commits nothing.
fn break_lease(path: &Path, dead: &Holder) -> Result<()> {
    let refused = |cause: io::Error| Error::io("break the lease of a dead node", path, &cause);
    // Of several that want to break it, one is the first to make this name.
    let claim = with_suffix(path, &format!(".broken-{}", dead.epoch));
    std::fs::hard_link(path, &claim).map_err(|cause| {
        Error::new(Kind::Run, format!("the lease of a dead node cannot be broken: {cause}"))
            .at_path(&claim)
            .hint("if no other launch is just taking the run over, remove this file")
    })?;
    let still = File::open(&claim).and_then(|mut file| read_holder(&mut file)).map_err(refused)?;
    if still.as_ref() == Some(dead) {
        // A later epoch, so that whoever else found the dead one sees that it is broken already.
        let broken = Holder { epoch: dead.epoch + 1, ..dead.clone() };
        let mut text = serde_json::to_string(&broken).map_err(|cause| refused(cause.into()))?;
        text.push('\n');
        replace(path, &text, Durability::Lasting).map_err(refused)?;
        log::warn!(
            "the lease of epoch {} is broken: process {} on {} is lost or shows no life",
            dead.epoch,
            dead.pid,
            dead.host
        );
    }
    std::fs::remove_file(&claim).map_err(refused)
}

fn held(path: &Path, what: &str, hint: &str, holder: Option<Holder>) -> Error {
    let by = match holder {
        Some(holder) => format!("process {} on {} since {}", holder.pid, holder.host, holder.since),
        None => "another process".to_owned(),
    };
    Error::new(Kind::Run, format!("{what} is in the hands of {by}")).at_path(path).hint(hint)
}

/// Whether an open file is the one that a path names now.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (open, named) = (file.metadata()?, std::fs::metadata(path)?);
    Ok((open.dev(), open.ino()) == (named.dev(), named.ino()))
}

/// Reads who wrote the file last; none if nobody did or the text is damaged.
fn read_holder(file: &mut File) -> io::Result<Option<Holder>> {
    let mut text = Vec::new();
    file.take(TEXT_BYTES as u64).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

fn write_holder(file: &File, holder: &Holder) -> io::Result<()> {
    let mut text = serde_json::to_vec(holder)?;
    text.resize(TEXT_BYTES - 1, b' ');
    text.push(b'\n');
    file.write_all_at(&text, 0)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_has_one_holder_and_the_second_is_told_who() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(Lease::holder_of(&run.lease()), None);
        let lease = Lease::of_attempt(&run).unwrap();
        let error = Lease::of_attempt(&run).unwrap_err();
        assert!(error.message().contains(&format!("process {}", std::process::id())), "{error}");
        assert_eq!(Lease::holder_of(&run.lease()).unwrap().epoch, 1);
        assert!(Lease::of_supervisor(&run).is_ok());
        lease.check().unwrap();
    }

    #[test]
    fn a_supervised_attempt_waits_for_the_last_one_to_die() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let dying = Lease::of_attempt(&run).unwrap();
        let next = std::thread::spawn({
            let run = run.clone();
            move || Lease::of_supervised_attempt(&run, None).map(|lease| lease.epoch())
        });
        // Longer than somebody waits who was not launched by a supervisor.
        assert!(Lease::of_attempt(&run).is_err());
        drop(dying);
        assert_eq!(next.join().unwrap().unwrap(), 2);
    }

    #[test]
    fn the_lease_of_a_dead_node_is_broken_and_its_holder_is_fenced_should_it_wake() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let silence = Duration::from_millis(300);
        let take = || Lease::for_attempt(&run, Duration::from_millis(10), silence, None);
        let mut zombie = take().unwrap();
        assert!(take().is_err(), "a holder on this host is asked, not broken");
        zombie.holder.host = "elsewhere".into();
        write_holder(&zombie.file, &zombie.holder).unwrap();
        zombie.check().unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let beating = scope.spawn(|| {
                let mut beat = 0_u64;
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    beat += 1;
                    std::fs::write(run.heartbeats(), beat.to_string()).unwrap();
                    std::thread::sleep(Duration::from_millis(10));
                }
            });
            assert!(take().is_err(), "as long as its ranks beat it is alive");
            done.store(true, std::sync::atomic::Ordering::Relaxed);
            beating.join().unwrap();
        });
        let heir = take().unwrap();
        assert_eq!(heir.epoch(), zombie.epoch() + 2, "breaking it takes an epoch too");
        heir.check().unwrap();
        assert!(zombie.check().unwrap_err().message().contains("was taken over"));
        assert!(take().is_err(), "the new one holds");
        let left =
            std::fs::read_dir(room.path()).unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        assert!(!left.into_iter().any(|name| name.contains("broken")));
    }

    #[test]
    fn a_condemned_holder_is_not_waited_for_even_if_its_ranks_still_beat() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let take =
            |condemned| Lease::for_attempt(&run, Duration::from_millis(10), Duration::from_secs(1000), condemned);
        let zombie = take(None).unwrap();
        assert!(take(Some(zombie.epoch() + 1)).is_err(), "another is condemned");
        let heir = take(Some(zombie.epoch())).unwrap();
        assert!(zombie.check().unwrap_err().message().contains("was taken over"));
        let epoch = heir.epoch();
        drop(heir);
        assert_eq!(take(Some(epoch)).unwrap().epoch(), epoch + 1, "a lease that is free needs no breaking");
    }

    #[test]
    fn the_next_life_of_a_job_inherits_from_a_supervisor_on_another_node_alone() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let mut zombie = Lease::of_supervisor(&run).unwrap();
        let inherit = |from: &Holder| Lease::inherited_from_supervisor(&run, from);
        assert!(inherit(zombie.holder()).is_err(), "on this node it can be looked for");
        zombie.holder.host = "elsewhere".into();
        write_holder(&zombie.file, &zombie.holder).unwrap();
        let another = Holder { epoch: 7, ..zombie.holder.clone() };
        assert!(inherit(&another).is_err(), "whoever took the run over since is none of the dead");
        let heir = inherit(zombie.holder()).unwrap();
        assert!(zombie.check().is_err());
        heir.check().unwrap();
    }

    #[test]
    fn every_holder_has_an_epoch_of_its_own() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        for epoch in 1..4 {
            assert_eq!(Lease::of_attempt(&run).unwrap().epoch(), epoch);
        }
        assert_eq!(Lease::holder_of(&run.lease()), None);
    }

    #[test]
    fn a_damaged_text_is_not_the_holders_own_and_the_count_begins_anew() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        drop(Lease::of_attempt(&run).unwrap());
        let old = Lease::of_attempt(&run).unwrap();
        std::fs::write(run.lease(), "{").unwrap();
        assert!(old.check().unwrap_err().message().contains("damaged"));
        drop(old);
        assert_eq!(Lease::of_attempt(&run).unwrap().epoch(), 1);
    }

    #[test]
    fn a_lease_that_was_taken_over_notices() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let old = Lease::of_attempt(&run).unwrap();
        std::fs::remove_file(run.lease()).unwrap();
        assert!(old.check().is_err());
        let _new = Lease::of_attempt(&run).unwrap();
        // The epoch is the same, since the file was lost; the holder's text differs in nothing else within one second,
        // so what counts is that a later epoch is told apart.
        let file = OpenOptions::new().write(true).open(run.lease()).unwrap();
        write_holder(&file, &Holder { epoch: 9, ..old.holder.clone() }).unwrap();
        assert!(old.check().unwrap_err().message().contains("epoch 9"));
    }
}
