//! Whether the ranks still move: judges heartbeats, by a clock that only runs while somebody watches.
//!
//! Two counters tell two faults apart. A rank whose *beat* stands still is stopped, or its node is gone. When all beat
//! but nobody's *progress* moves, the run hangs; the one to name is the rank that is furthest behind and is not itself
//! waiting for others.
//!
//! How long is too long follows from the phase (a slow disk is no hang) and from the longest time between two signs
//! of progress so far, so that a slow model is not taken for a dead one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::config::Bounds;
use crate::rundir::{HeartbeatRecord, Phase};

/// A silence this many times longer than any before, while computing, is a hang.
const LONGER: u32 = 10;
/// Starting, reading and leaving may take this many times longer than computing.
const START: u32 = 6;
/// Writing may take this many times longer: disks stall for minutes and come back.
const WRITE: u32 = 18;
/// A process that job control has stopped for so long is not coming back by itself.
const STOPPED: Duration = Duration::from_secs(3);
/// The watch's clock moves at most so far between two looks: the watcher itself may have been stopped.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// What the kernel says of a rank's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Vital {
    /// It lives, on this host.
    Lives,
    /// It lives, but job control has stopped it.
    Stopped,
    /// It is on another host, or not ours to see.
    Unknown,
}

/// A rank that no longer moves.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Finding {
    /// The process does not move: stopped, or its node is gone.
    Still(HeartbeatRecord, Duration),
    /// The processes move, the run does not; this rank is furthest behind.
    Hung(HeartbeatRecord, Duration),
    /// The run waits for a rank that never showed itself.
    Absent(usize, Duration),
}

struct Seen {
    record: HeartbeatRecord,
    beat_at: Duration,
    lived_at: Duration,
}

/// The watch over one attempt.
pub(super) struct Watch {
    ranks: usize,
    limits: Bounds,
    now: Duration,
    seen: Vec<Option<Seen>>,
    progress_at: Duration,
    longest_gap: Duration,
    first_step: Option<u64>,
}

impl Watch {
    /// A watch over `ranks` ranks. How long is too long without progress while they compute follows from their longest
    /// step, within these limits.
    pub(super) fn new(ranks: usize, limits: Bounds) -> Self {
        Watch {
            ranks,
            limits,
            now: Duration::ZERO,
            seen: (0..ranks).map(|_| None).collect(),
            progress_at: Duration::ZERO,
            longest_gap: Duration::ZERO,
            first_step: None,
        }
    }

    /// How many ranks there are.
    pub(super) fn ranks(&self) -> usize {
        self.ranks
    }

    /// The last record of each rank that has shown itself.
    pub(super) fn records(&self) -> impl Iterator<Item = &HeartbeatRecord> {
        self.seen.iter().flatten().map(|seen| &seen.record)
    }

    /// The furthest step that any rank was seen in.
    pub(super) fn furthest_step(&self) -> u64 {
        self.records().map(|record| record.step).max().unwrap_or(0)
    }

    /// Takes note of the records, `elapsed` after the last look.
    pub(super) fn look(
        &mut self,
        elapsed: Duration,
        records: Vec<HeartbeatRecord>,
        vital: impl Fn(&HeartbeatRecord) -> Vital,
    ) -> Option<Finding> {
        self.now += elapsed.min(LONGEST_LOOK);
        let computing = self.patience() == 1;
        let mut progress = false;
        for record in records {
            let Some(place) = self.seen.get_mut(record.rank) else { continue };
            let before = place.take();
            let same = before.as_ref().filter(|before| before.record.pid == record.pid);
            progress |= same.is_none_or(|before| before.record.progress != record.progress);
            let beat_at = match same {
                Some(before) if before.record.beat == record.beat => before.beat_at,
                _ => self.now,
            };
            let lived_at = match same {
                Some(before) if vital(&record) == Vital::Stopped => before.lived_at,
                _ => self.now,
            };
            *place = Some(Seen { record, beat_at, lived_at });
        }
        if progress {
            if computing {
                self.longest_gap = self.longest_gap.max(self.now - self.progress_at);
            }
            self.progress_at = self.now;
            self.first_step = self.first_step.or(Some(self.furthest_step()).filter(|&step| step > 0));
        }
        self.still(vital).or_else(|| self.hung())
    }

    /// The nodes all of whose ranks have fallen silent while ranks of other nodes beat: where there is but one node, none.
    pub(super) fn silent_nodes(&self) -> BTreeSet<String> {
        let mut last_beats = BTreeMap::<&str, Duration>::new();
        for seen in self.seen.iter().flatten() {
            let last = last_beats.entry(&seen.record.host).or_default();
            // Whoever leaves in good order is silent for a good reason.
            *last = if seen.record.phase.may_leave() { Duration::MAX } else { (*last).max(seen.beat_at) };
        }
        let beating = last_beats.values().copied().filter(|&last| last < Duration::MAX);
        let newest = beating.max().unwrap_or_default();
        // A file server passes beats on late, and in bursts.
        let silence = self.limits.at_least / 2;
        let silent = last_beats.into_iter().filter(|&(_, last)| last.saturating_add(silence) < newest);
        silent.map(|(node, _)| node.to_owned()).collect()
    }

    /// Whether ranks have shown themselves on more than one node.
    pub(super) fn has_several_nodes(&self) -> bool {
        let mut hosts = self.records().map(|record| &record.host);
        hosts.next().is_some_and(|first| hosts.any(|host| host != first))
    }

    /// A process that does not move.
    fn still(&self, vital: impl Fn(&HeartbeatRecord) -> Vital) -> Option<Finding> {
        for seen in self.seen.iter().flatten().filter(|seen| !seen.record.phase.may_leave()) {
            let stopped = self.now - seen.lived_at;
            if stopped >= STOPPED {
                return Some(Finding::Still(seen.record.clone(), stopped));
            }
            // A process that the kernel shows alive may only be unable to write to a stalled disk.
            let factor = if vital(&seen.record) == Vital::Unknown { 1 } else { WRITE };
            let silent = self.now - seen.beat_at;
            if silent > self.limits.at_least * factor {
                return Some(Finding::Still(seen.record.clone(), silent));
            }
        }
        None
    }

    /// A run that does not move.
    fn hung(&self) -> Option<Finding> {
        let standing = self.now - self.progress_at;
        let Bounds { at_least, at_most } = self.limits;
        let limit = (self.longest_gap * LONGER).clamp(at_least, at_most) * self.patience();
        // A program that shows no heartbeat at all cannot be judged.
        if standing <= limit || self.records().next().is_none() {
            return None;
        }
        if let Some(rank) = (0..self.ranks).find(|&rank| self.seen[rank].is_none()) {
            return Some(Finding::Absent(rank, standing));
        }
        let behind = |record: &&HeartbeatRecord| {
            (record.phase.may_leave(), record.step, record.phase.waits(), record.progress, record.rank)
        };
        self.records().min_by_key(behind).map(|record| Finding::Hung(record.clone(), standing))
    }

    /// How many times the limit may pass without progress: as the most patient rank needs, since others wait for it.
    fn patience(&self) -> u32 {
        let of_phase = |phase| match phase {
            Phase::Sweep | Phase::Exchange | Phase::Reduce => 1,
            Phase::Starting | Phase::Reading | Phase::Finishing | Phase::Ended => START,
            Phase::Checkpoint | Phase::Output => WRITE,
        };
        // Nobody knows yet how long a step takes.
        let first = self.first_step.is_none_or(|first| self.furthest_step() <= first);
        let phases = self.records().map(|record| of_phase(record.phase));
        phases.chain(first.then_some(START)).max().unwrap_or(START)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    fn record(rank: usize, step: u64, phase: Phase) -> HeartbeatRecord {
        HeartbeatRecord { rank, attempt: 1, pid: 100, host: "n".into(), step, phase, progress: 0, beat: 0 }
    }

    fn limits(at_least: u64, at_most: u64) -> Bounds {
        Bounds { at_least: Duration::from_secs(at_least), at_most: Duration::from_secs(at_most) }
    }

    /// Looks on for `seconds`; `at` gives each rank's step, phase and progress, and none for a beat that stands still.
    fn look_on(
        watch: &mut Watch,
        seconds: f64,
        vital: Vital,
        at: impl Fn(usize, u64) -> Option<(u64, Phase, u64)>,
    ) -> Option<Finding> {
        let looks = (seconds / LOOK.as_secs_f64()) as u64;
        (0..looks).find_map(|look| {
            let records = (0..watch.ranks)
                .map(|rank| match at(rank, look) {
                    Some((step, phase, progress)) => {
                        HeartbeatRecord { progress, beat: look, ..record(rank, step, phase) }
                    }
                    None => HeartbeatRecord { progress: 1, ..record(rank, 7, Phase::Sweep) },
                })
                .collect();
            watch.look(LOOK, records, |_| vital)
        })
    }

    fn warmed_up() -> Watch {
        let mut watch = Watch::new(4, limits(10, 100));
        let found = look_on(&mut watch, 5.0, Vital::Lives, |_, look| Some((1 + look, Phase::Sweep, look)));
        assert_eq!(found, None);
        watch
    }

    #[test]
    fn a_run_that_moves_is_left_alone() {
        let found = look_on(&mut warmed_up(), 1000.0, Vital::Lives, |_, look| Some((30 + look, Phase::Sweep, look)));
        assert_eq!(found, None);
    }

    #[test]
    fn of_a_hung_run_the_rank_that_others_wait_for_is_named() {
        let found = look_on(&mut warmed_up(), 30.0, Vital::Lives, |rank, _| {
            Some((30, if rank == 2 { Phase::Sweep } else { Phase::Exchange }, 100 - rank as u64))
        });
        let Some(Finding::Hung(record, standing)) = found else { panic!("{found:?}") };
        assert_eq!((record.rank, record.phase), (2, Phase::Sweep));
        assert!(standing < Duration::from_secs(12), "{standing:?}");
    }

    #[test]
    fn of_a_deadlock_the_rank_in_the_earliest_step_is_named() {
        let found = look_on(&mut warmed_up(), 30.0, Vital::Lives, |rank, _| {
            Some((if rank == 3 { 29 } else { 30 }, Phase::Exchange, 5))
        });
        assert!(matches!(found, Some(Finding::Hung(record, _)) if record.rank == 3));
    }

    #[test]
    fn a_stopped_process_is_named_within_seconds() {
        let mut watch = warmed_up();
        let mut looks = 0;
        let found = (0..100).find_map(|look| {
            looks = look;
            let records = (0..4).map(|rank| record(rank, 30, Phase::Sweep)).collect();
            watch.look(LOOK, records, |record| if record.rank == 1 { Vital::Stopped } else { Vital::Lives })
        });
        assert!(matches!(found, Some(Finding::Still(record, _)) if record.rank == 1));
        assert!(LOOK * looks < Duration::from_secs(5));
    }

    #[test]
    fn a_silent_rank_on_another_host_is_named_after_the_limit() {
        let moving = |rank: usize, look: u64| (rank != 0).then_some((30 + look, Phase::Sweep, look));
        let found = look_on(&mut warmed_up(), 30.0, Vital::Unknown, moving);
        assert!(matches!(found, Some(Finding::Still(record, _)) if record.rank == 0));
        assert_eq!(look_on(&mut warmed_up(), 30.0, Vital::Lives, moving), None);
    }

    #[test]
    fn a_slow_disk_is_no_hang() {
        let writing = |rank, _| Some((30, if rank == 0 { Phase::Checkpoint } else { Phase::Reduce }, 5));
        assert_eq!(look_on(&mut warmed_up(), 150.0, Vital::Lives, writing), None);
        assert!(look_on(&mut warmed_up(), 200.0, Vital::Lives, writing).is_some());
    }

    #[test]
    fn a_slow_model_is_no_hang() {
        let mut watch = warmed_up();
        let slow = |period: u64| move |_, look: u64| Some((100 + look / period, Phase::Sweep, 1000 + look / period));
        assert_eq!(look_on(&mut watch, 100.0, Vital::Lives, slow(32)), None);
        assert_eq!(look_on(&mut watch, 300.0, Vital::Lives, slow(300)), None);
    }

    #[test]
    fn even_the_slowest_model_hangs_at_last() {
        let mut watch = Watch::new(4, limits(5, 20));
        let slow = |look: u64| Some((100 + look / 16, Phase::Sweep, 1000 + look / 16));
        assert_eq!(look_on(&mut watch, 100.0, Vital::Lives, |_, look| slow(look)), None);
        assert_eq!(look_on(&mut watch, 15.0, Vital::Lives, |_, _| slow(399)), None);
        let found = look_on(&mut watch, 15.0, Vital::Lives, |_, _| slow(399));
        assert!(matches!(found, Some(Finding::Hung(_, standing)) if standing < Duration::from_secs(22)), "{found:?}");
    }

    #[test]
    fn a_node_has_fallen_silent_when_none_of_its_ranks_beats_and_others_do() {
        let look = |watch: &mut Watch, beats: [u64; 4]| {
            let of = |rank: usize, beat| HeartbeatRecord {
                host: format!("n{}", rank / 2),
                beat,
                ..record(rank, 1, Phase::Sweep)
            };
            let records = beats.into_iter().enumerate().map(|(rank, beat)| of(rank, beat)).collect();
            watch.look(LOOK, records, |_| Vital::Unknown)
        };
        let mut watch = Watch::new(4, limits(10, 100));
        (0..8).for_each(|beat| assert_eq!(look(&mut watch, [beat, 0, 0, beat]), None));
        assert_eq!(watch.silent_nodes(), BTreeSet::new(), "one rank a node is not the node");
        (8..32).for_each(|beat| assert_eq!(look(&mut watch, [beat, beat, 0, 7]), None));
        assert_eq!(watch.silent_nodes(), BTreeSet::from(["n1".to_owned()]));
        assert!(watch.has_several_nodes() && !warmed_up().has_several_nodes());
        assert_eq!(warmed_up().silent_nodes(), BTreeSet::new());
    }

    #[test]
    fn a_rank_that_never_comes_is_named() {
        let mut watch = Watch::new(3, limits(1, 10));
        let found = (0..100).find_map(|_| {
            let records = [0, 2].map(|rank| record(rank, 0, Phase::Starting)).to_vec();
            watch.look(LOOK, records, |_| Vital::Lives)
        });
        assert!(matches!(found, Some(Finding::Absent(1, _))), "{found:?}");
    }

    #[test]
    fn a_program_without_heartbeats_is_not_judged() {
        let mut watch = Watch::new(3, limits(1, 10));
        assert_eq!((0..1000).find_map(|_| watch.look(LOOK, Vec::new(), |_| Vital::Lives)), None);
    }

    #[test]
    fn the_time_in_which_the_watcher_was_stopped_does_not_count() {
        let mut watch = warmed_up();
        let records = || (0..4).map(|rank| record(rank, 30, Phase::Sweep)).collect();
        assert_eq!(watch.look(Duration::from_secs(3600), records(), |_| Vital::Lives), None);
    }
}
