//! Whether one rank is slower than the others: samples of what the ranks do, over a window of beats.
//!
//! Ranks step together, so that a slow one shows in what the others do: they wait while it computes. It is reported and not
//! ended: on a slow node the run still gets on.

use std::collections::BTreeSet;

use crate::rundir::{HeartbeatRecord, Phase};

/// How many samples of each rank make a judgement; at four beats a second, about ten seconds.
const WINDOW: u32 = 40;
/// A slow rank computes in at least this part of its samples
const BUSY: f64 = 0.75;
/// while the others do so in at most this part of theirs, on the average.
const IDLE: f64 = 0.4;

/// A rank that the others wait for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Slow {
    pub record: HeartbeatRecord,
    /// The part of the time in which it computes.
    pub busy: f64,
    /// The part of the time in which the others compute, on the average.
    pub others: f64,
}

/// The samples of one rank.
#[derive(Debug, Clone, Copy, Default)]
struct Samples {
    beat: u64,
    taken: u32,
    busy: u32,
}

/// The samples of all ranks since the last judgement.
#[derive(Debug, Default)]
pub(super) struct Pace {
    samples: Vec<Samples>,
    told: BTreeSet<usize>,
}

impl Pace {
    /// Takes the records in; names a rank that has turned out slow, once.
    pub fn look(&mut self, ranks: usize, records: &[HeartbeatRecord]) -> Option<Slow> {
        let computing = |phase| matches!(phase, Phase::Sweep | Phase::Exchange | Phase::Reduce);
        // A line that was just being written is missing, and shifts the others.
        if records.len() != ranks || !records.iter().all(|record| computing(record.phase)) {
            return None;
        }
        self.samples.resize(records.len(), Samples::default());
        for (samples, record) in self.samples.iter_mut().zip(records).filter(|(s, record)| s.beat != record.beat) {
            samples.beat = record.beat;
            samples.taken += 1;
            samples.busy += u32::from(record.phase == Phase::Sweep);
        }
        if self.samples.iter().any(|samples| samples.taken < WINDOW) {
            return None;
        }
        let slow = self.judge(records);
        self.samples.iter_mut().for_each(|samples| (samples.taken, samples.busy) = (0, 0));
        slow.filter(|slow| self.told.insert(slow.record.rank))
    }

    fn judge(&self, records: &[HeartbeatRecord]) -> Option<Slow> {
        let shares: Vec<f64> = self.samples.iter().map(|s| f64::from(s.busy) / f64::from(s.taken)).collect();
        let slowest = (0..shares.len()).max_by(|&a, &b| shares[a].total_cmp(&shares[b]))?;
        let others = (shares.iter().sum::<f64>() - shares[slowest]) / (shares.len() - 1).max(1) as f64;
        let slow = shares.len() > 1 && shares[slowest] >= BUSY && others <= IDLE;
        slow.then(|| Slow { record: records[slowest].clone(), busy: shares[slowest], others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks on for `beats`; tells who was found slow. `busy` says whether a rank computes in a beat.
    fn found(beats: u64, ranks: usize, busy: impl Fn(usize, u64) -> bool) -> Vec<usize> {
        let mut pace = Pace::default();
        let record = |rank, beat| HeartbeatRecord {
            rank,
            attempt: 1,
            pid: 100,
            host: "n".into(),
            step: beat,
            phase: if busy(rank, beat) { Phase::Sweep } else { Phase::Exchange },
            progress: beat,
            beat,
        };
        // Each beat is looked at twice, as it happens when one looks more often than ranks beat.
        let looks = (2..2 * beats).map(|look| (0..ranks).map(|rank| record(rank, look / 2)).collect::<Vec<_>>());
        looks.filter_map(|records| pace.look(ranks, &records)).map(|slow| slow.record.rank).collect()
    }

    #[test]
    fn the_rank_that_the_others_wait_for_is_named_once() {
        assert_eq!(found(1000, 4, |rank, beat| rank == 2 || beat % 5 == 0), [2]);
    }

    #[test]
    fn ranks_that_work_alike_are_not_slow() {
        for period in 1..5 {
            assert!(found(1000, 4, |rank, beat| (rank as u64 + beat).is_multiple_of(period)).is_empty(), "{period}");
        }
        assert!(found(1000, 1, |_, _| true).is_empty());
    }

    #[test]
    fn a_short_while_is_no_judgement() {
        assert!(found(u64::from(WINDOW) - 1, 4, |rank, _| rank == 2).is_empty());
    }
}
