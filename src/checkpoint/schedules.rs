//! A run's whole life, played by a seed: attempts that take the lease from each other, checkpoints, failures of every call,
//! kills, power losses, disks that lie or rot, and old attempts that wake up late in the middle of a call.
//!
//! A few schedules are played in every test run. `STEADFAST_CHAOS_SEEDS=100000` plays so many, `STEADFAST_CHAOS_SEED=17` that one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;

use super::crew::{Crew, DIRECTORY, Judge, path_of, seeds, sweep};
use super::phases::Verify;
use super::simulated::{Fault, Medium, Random, Verb};
use super::store::set_aside_on;
use crate::error::{Error, Kind};
use crate::grid::random::mix;
use crate::rundir::step_of;

/// What was played; a test that never meets a case proves nothing about it.
#[derive(Debug, Default)]
struct Counts {
    attempts: u64,
    takeovers: u64,
    committed: u64,
    discarded: u64,
    refused_zombies: u64,
    power_losses: u64,
    images: u64,
    kills: u64,
    lies: u64,
    rotten: u64,
    fallbacks: u64,
    removals: u64,
    late_removals: u64,
}

/// What is wrong with the disk in a schedule: one thing, since no two good checkpoints help against two.
#[derive(Clone, Copy, PartialEq)]
enum Nature {
    Honest,
    Lies,
    Rots,
}

/// A run, its disk, and what must be true of both.
struct World {
    medium: Medium,
    nature: Nature,
    verify: Verify,
    keep: usize,
    random: Random,
    judge: Judge,
    counts: Counts,
    /// The steps that were reported as committed, as long as nothing is known to be wrong with them.
    promised: BTreeSet<u64>,
    /// Those in which a bit was flipped since they got their names.
    rotten: BTreeSet<u64>,
    /// Whether every block was read back, by epoch and step.
    whole: BTreeMap<(u64, u64), bool>,
    /// The same of what has its final name, as the last of the history tells.
    named: BTreeMap<u64, bool>,
    reviewed: usize,
    /// The newest epoch that has looked for checkpoints.
    listed: u64,
}

/// The world, which attempts share, and the epoch of its lease.
#[derive(Clone)]
struct Shared(Arc<(Mutex<World>, AtomicU64)>);

impl World {
    fn new(seed: u64) -> World {
        let mut random = Random(mix(seed));
        World {
            medium: Medium::default(),
            nature: random.choose(&[Nature::Honest, Nature::Lies, Nature::Rots]),
            verify: random.choose(&[Verify::All, Verify::All, Verify::Sample, Verify::None]),
            keep: 2 + random.below(2),
            random,
            judge: Judge::new(),
            counts: Counts::default(),
            promised: BTreeSet::new(),
            rotten: BTreeSet::new(),
            whole: BTreeMap::new(),
            named: BTreeMap::new(),
            reviewed: 0,
            listed: 0,
        }
    }

    /// The newest good checkpoint, which must not be older than the newest that was promised.
    fn newest_good(&mut self, medium: &Medium, place: &str) -> Option<u64> {
        let newest = self.judge.newest_good(medium);
        let promised = self.promised.last().copied();
        assert!(newest >= promised, "{place}: step {promised:?} was committed, and a restart finds {newest:?}");
        newest
    }

    /// Goes through what changed names since the last time.
    fn review(&mut self) {
        let history = self.medium.history();
        for deed in &history[self.reviewed..] {
            let name = deed.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            match (deed.verb, step_of(name)) {
                (Verb::Rename, Some(step)) => {
                    assert!(
                        deed.epoch >= self.listed,
                        "epoch {} committed step {step} after {} had looked",
                        deed.epoch,
                        self.listed
                    );
                    self.rotten.remove(&step);
                    self.named.insert(step, self.whole[&(deed.epoch, step)]);
                }
                (Verb::Remove, Some(step)) => {
                    let newer: Vec<_> = self.named.range(step + 1..).collect();
                    assert!(
                        newer.iter().any(|(_, whole)| **whole),
                        "step {step} goes, and no newer one was read back: {newer:?}"
                    );
                    assert!(
                        newer.len() >= self.keep || deed.epoch < self.listed,
                        "step {step} goes too early: {newer:?}"
                    );
                    self.counts.removals += 1;
                    self.counts.late_removals += u64::from(deed.epoch < self.listed);
                    self.named.remove(&step);
                }
                (Verb::Rename, None) => drop(self.named.remove(&step_of(name.trim_end_matches(".bad")).unwrap())),
                (Verb::Remove, None) => {
                    let epoch: u64 = name.split('.').nth(2).unwrap().parse().unwrap();
                    assert!(epoch <= deed.epoch, "epoch {} removes what epoch {epoch} writes", deed.epoch);
                }
                _ => {}
            }
        }
        self.reviewed = history.len();
    }

    /// Loses power, in several ways of which the run goes on from one.
    fn lose_power(&mut self) {
        self.review();
        self.counts.power_losses += 1;
        let seed = self.random.below(1 << 30) as u64;
        for i in 0..4 {
            self.counts.images += 1;
            let image = self.medium.after_power_loss(mix(seed + i));
            self.newest_good(&image, "after a power loss");
            if i == 3 {
                self.medium = image;
            }
        }
        self.reviewed = 0;
        let left: BTreeSet<u64> = self.judge.checkpoints(&self.medium).into_iter().map(|(step, _)| step).collect();
        let whole = |step| self.whole.iter().rev().find(|((_, of), _)| *of == step).is_some_and(|(_, whole)| *whole);
        self.named = left.into_iter().map(|step| (step, whole(step))).collect();
    }

    /// Flips a bit of a checkpoint, if there is another good one that lasts.
    fn rot(&mut self) {
        self.review();
        let lasting = self.medium.after_power_loss(0);
        let good: Vec<u64> = self
            .judge
            .checkpoints(&lasting)
            .into_iter()
            .filter(|(_, verdict)| verdict.is_ok())
            .map(|(step, _)| step)
            .collect();
        if good.len() > 1 {
            let step = good[self.random.below(good.len())];
            if let (Some(bytes), bit) = (self.medium.files().get(&path_of(step)), self.random.below(1 << 30)) {
                self.medium.damage(&path_of(step), bit % (bytes.len() * 8));
                self.promised.remove(&step);
                self.rotten.insert(step);
                self.counts.rotten += 1;
            }
        }
    }
}

impl Shared {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.0.lock().unwrap()
    }

    fn lease(&self) -> u64 {
        self.0.1.load(Relaxed)
    }

    /// An attempt, from the lease to its end; `depth` others stand still meanwhile and wake up when it has ended.
    fn attempt(&self, depth: usize) {
        let epoch = self.0.1.fetch_add(1, Relaxed) + 1;
        let (medium, verify, keep, seed) = {
            let mut world = self.world();
            world.counts.attempts += 1;
            world.counts.takeovers += u64::from(depth > 0);
            (world.medium.clone(), world.verify, world.keep, world.random.below(1 << 30) as u64)
        };
        let mut crew = Crew::new(&medium, 1 + seed as usize % 3, epoch, seed);
        (crew.verify, crew.keep) = (verify, keep);
        let shared = self.clone();
        crew.fence = Some(Arc::new(move || match shared.lease() == epoch {
            true => Ok(()),
            false => Err(Error::new(Kind::Run, "the lease was taken over")),
        }));
        if sweep(&crew.ranks[0]).is_err() {
            return;
        }
        let Some(mut step) = self.look(&crew) else { return };
        for _ in 0..1 + seed % 4 {
            step += 10;
            self.disturb(&crew, depth);
            let whole = crew.next_verify() == Verify::All;
            self.world().whole.insert((epoch, step), whole);
            let ended = crew.checkpoint(step);
            let mut world = self.world();
            world.review();
            let sound = (whole || world.nature != Nature::Lies) && !world.rotten.contains(&step);
            match &ended {
                Ok(()) => {
                    world.counts.committed += 1;
                    if sound {
                        world.promised.insert(step);
                    }
                }
                Err(error) if error.message().contains("taken over") => world.counts.refused_zombies += 1,
                Err(_) => world.counts.discarded += 1,
            }
            if crew.is_dead() || self.lease() != epoch || medium.is_off() {
                world.counts.kills += u64::from(crew.is_dead() && !medium.is_off());
                return;
            }
        }
    }

    /// Finds the step to go on from, and sets aside what is damaged.
    fn look(&self, crew: &Crew) -> Option<u64> {
        let found = {
            let mut world = self.world();
            let medium = world.medium.clone();
            if medium.is_off() {
                return None;
            }
            world.review();
            world.listed = world.listed.max(crew.epoch);
            world.newest_good(&medium, "at a restart");
            world.judge.checkpoints(&medium)
        };
        let newest = found.iter().find(|(_, verdict)| verdict.is_ok()).map_or(0, |(step, _)| *step);
        for (step, _) in found.iter().filter(|(_, verdict)| newest > 0 && verdict.is_err()) {
            let _ = set_aside_on(&crew.ranks[0], &path_of(*step));
            self.world().counts.fallbacks += u64::from(*step > newest);
        }
        assert!(newest > 0 || found.is_empty(), "all checkpoints are bad: {found:?}");
        Some(newest)
    }

    /// Arranges for what goes wrong in the next checkpoint.
    fn disturb(&self, crew: &Crew, depth: usize) {
        let mut world = self.world();
        let (rank, call) = (world.random.below(crew.ranks.len()), world.random.below(60));
        let mount = &crew.ranks[rank];
        match world.random.below(9) {
            0 => {
                let errno =
                    world.random.choose(&[Errno::ENOSPC, Errno::EIO, Errno::EDQUOT, Errno::EROFS, Errno::EINTR]);
                mount.fault_after(call, Fault::Fails(errno));
            }
            1 => mount.fault_after(call, world.random.choose(&[Fault::Short, Fault::DoneButFails(Errno::EIO)])),
            2 => mount.fault_after(call, Fault::Dies),
            3 => {
                let calls = world.random.below(80);
                world.medium.cut_power_after(calls);
            }
            4 if world.nature == Nature::Lies => {
                world.counts.lies += 1;
                mount.fault_after(call, world.random.choose(&[Fault::Loses, Fault::Flips]));
            }
            5 if depth < 2 => {
                let shared = self.clone();
                mount.pause_after(call, move || shared.attempt(depth + 1));
            }
            6 if depth < 2 => {
                let (shared, verb) =
                    (self.clone(), world.random.choose(&[Verb::Rename, Verb::SyncDirectory, Verb::Names]));
                crew.ranks[0].pause_before(verb, move || shared.attempt(depth + 1));
            }
            7 if world.nature == Nature::Rots => world.rot(),
            _ => {}
        }
    }
}

/// Says how to see a schedule again that failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "to see it again: STEADFAST_CHAOS_SEED={} cargo test --lib checkpoint::schedules -- --nocapture",
                self.0
            );
        }
    }
}

/// Plays one schedule to its end, where an undisturbed attempt must succeed.
fn play(seed: u64) -> Counts {
    let _named = Named(seed);
    let shared = Shared(Arc::new((Mutex::new(World::new(seed)), AtomicU64::new(0))));
    let attempts = 3 + seed % 6;
    for _ in 0..attempts {
        shared.attempt(0);
        let mut world = shared.world();
        if world.medium.is_off() || world.random.once_in(3) {
            world.lose_power();
        }
        let medium = world.medium.clone();
        world.newest_good(&medium, "between two attempts");
    }
    shared.world().medium.keep_power();
    let mut last = Crew::new(&shared.world().medium, 2, u64::MAX, seed);
    last.keep = shared.world().keep;
    sweep(&last.ranks[0]).unwrap();
    let step = shared.look(&last).unwrap() + 10;
    shared.world().whole.insert((u64::MAX, step), true);
    last.checkpoint(step).unwrap();
    let mut world = shared.world();
    world.review();
    let files = world.medium.files();
    assert!(
        files
            .keys()
            .all(|path| !path.to_string_lossy().ends_with(".partial") && path.parent() == Some(Path::new(DIRECTORY))),
        "{:?}",
        files.keys()
    );
    let medium = world.medium.after_power_loss(0);
    assert_eq!(world.judge.newest_good(&medium), Some(step));
    std::mem::take(&mut world.counts)
}

#[test]
fn a_restart_always_finds_a_good_checkpoint_and_no_old_attempt_commits_after_a_new_one_has_looked() {
    let mut all = Counts::default();
    let seeds = seeds(100);
    let schedules = seeds.clone().count();
    for seed in seeds {
        let one = play(seed);
        let pairs = [
            (&mut all.attempts, one.attempts),
            (&mut all.takeovers, one.takeovers),
            (&mut all.committed, one.committed),
            (&mut all.discarded, one.discarded),
            (&mut all.refused_zombies, one.refused_zombies),
            (&mut all.power_losses, one.power_losses),
            (&mut all.images, one.images),
            (&mut all.kills, one.kills),
            (&mut all.lies, one.lies),
            (&mut all.rotten, one.rotten),
            (&mut all.fallbacks, one.fallbacks),
            (&mut all.removals, one.removals),
            (&mut all.late_removals, one.late_removals),
        ];
        pairs.into_iter().for_each(|(sum, one)| *sum += one);
    }
    println!("{schedules} schedules: {all:?}");
    if schedules >= 100 {
        let met = [
            all.takeovers,
            all.discarded,
            all.refused_zombies,
            all.kills,
            all.lies,
            all.rotten,
            all.fallbacks,
            all.removals,
        ];
        assert!(met.iter().all(|&count| count > 0), "something was never met: {all:?}");
    }
}
