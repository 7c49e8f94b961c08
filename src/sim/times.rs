//! Where the time of an attempt went, told when it ends well.
//!
//! Every rank's [`Meter`](crate::comm::Meter) has counted all along; here ranks put together what theirs say. How near the
//! sweeps came to what memory allows is an estimate by this model: a sweep reads its source and writes its result, each
//! number once, and the processor reads what it is about to overwrite; neighbours that a stencil reads are in a cache by then.
//! Per component that is 3 numbers, and 4 where a stage keeps a part of a third buffer. A block that stays in a cache from one
//! sweep to the next, or is written past the caches, moves less, so that more than all of the limit can be reached.

use jiff::Timestamp;

use super::driver::Simulation;
use super::layout;
use super::program::Program;
use super::run::{Bandwidth, Outcome};
use crate::error::Result;
use crate::field::{MemoryProbe, Record};
use crate::rundir::{Memory, Part, Phase, State, Times, Updates};

/// Steps that took as long are worth the tenths of a second that measuring the memory's bandwidth takes.
const LONG: f64 = 10.0;

impl<P: Program<N>, const N: usize> Simulation<'_, P, N> {
    /// Tells where the time went in an attempt that began after the step `first`.
    ///
    /// # Collective
    pub(super) fn account(&mut self, outcome: &Outcome, first: u64) -> Result<()> {
        let (state, at) = match *outcome {
            Outcome::Finished { at, .. } => (State::Finished, at),
            Outcome::Interrupted { at } => (State::Stopped, at),
        };
        let steps = at.step - first;
        let meter = self.comm.meter();
        let spent = meter.spent().map(|spent| spent.as_secs_f64());
        let wall: f64 = spent.iter().sum();
        let stepping = wall - spent[Part::Start as usize];
        let own_cells = self.domain.state.volume();
        let rate = if steps > 0 { (own_cells as u64 * steps) as f64 / stepping } else { 0.0 };
        let [exchanges, bytes_sent] = meter.exchanges().map(|count| count as f64);

        let parts = self.comm.spread(&spent)?;
        let others = self.comm.spread(&[wall, stepping, rate, exchanges, bytes_sent])?;
        let [wall, stepping, rate, exchanges, bytes_sent] = others.try_into().expect("as many come back as were given");
        let sweeps = parts[Part::Sweeps as usize];
        let swept = P::COUNTS_STEPS && steps > 0 && sweeps.mean > 0.0;
        let memory = if swept { self.memory(steps, sweeps.mean, state, stepping.max)? } else { None };
        let cells = self.domain.grid().volume() as u64 * steps;
        let updates = swept.then(|| Updates {
            cells,
            sweeps_a_step: self.program.traffic().map(|traffic| traffic.sweeps as u64),
            per_second: cells as f64 / stepping.max,
            per_second_of_rank: rate,
            per_second_of_sweeps: cells as f64 / self.comm.size() as f64 / sweeps.mean,
            memory,
        });
        let run = self.chronicle.run();
        let times = Times {
            run_id: self.run_id.clone(),
            program: run.program.clone(),
            attempt: run.orders.attempt,
            state,
            step: at.step,
            time: at.time,
            at: Timestamp::now(),
            ranks: self.comm.size(),
            threads: self.case.run.threads,
            steps,
            wall,
            parts: Part::ALL.into_iter().zip(parts).collect(),
            imbalance: swept.then(|| sweeps.max / sweeps.mean - 1.0),
            updates,
            exchanges,
            bytes_sent,
        };
        self.chronicle.spent(&times);
        Ok(())
    }

    /// What sweeps of so many seconds moved, and the limit if it is asked for; all ranks have the same arguments.
    ///
    /// # Collective
    fn memory(&self, steps: u64, sweeping: f64, state: State, stepping: f64) -> Result<Option<Memory>> {
        let Some(traffic) = self.program.traffic() else { return Ok(None) };
        let bytes_a_cell = (traffic.numbers * P::State::COMPONENTS * P::State::kind().size()) as u64;
        let asked = self.chronicle.run().bandwidth == Bandwidth::Always || stepping >= LONG;
        let limit = if asked && state == State::Finished { self.bandwidth_of_all()? } else { None };
        let per_second = (self.domain.grid().volume() as u64 * steps * bytes_a_cell) as f64 / sweeping;
        Ok(Some(Memory { bytes_a_cell, per_second, limit }))
    }

    /// What the memory of all nodes moves per second while all ranks ask it to; none where it is too full for that.
    ///
    /// # Collective
    fn bandwidth_of_all(&self) -> Result<Option<f64>> {
        let on_node = self.comm.node()?.size;
        let needed = MemoryProbe::bytes(self.case.run.threads, on_node) * on_node;
        let memory = layout::Memory::of_this_node();
        let mut fits = [i64::from(memory.is_some_and(|memory| memory.spares(needed as u64)))];
        self.comm.min_i64(&mut fits)?;
        if fits == [0] {
            return Ok(None);
        }
        let mut probe = MemoryProbe::new(&self.domain.pool, on_node);
        self.comm.barrier()?;
        let all = self.comm.spread(&[probe.bandwidth()])?;
        Ok(Some(all[0].mean * self.comm.size() as f64))
    }
}

/// What a phase that is shown to watchers counts as.
pub(super) fn part_of(phase: Phase) -> Part {
    match phase {
        Phase::Starting | Phase::Reading => Part::Start,
        Phase::Sweep => Part::Sweeps,
        Phase::Exchange => Part::Waiting,
        Phase::Reduce => Part::Reductions,
        Phase::Checkpoint => Part::Checkpoints,
        Phase::Output => Part::Output,
        Phase::Finishing | Phase::Ended => Part::Rest,
    }
}
