//! What a case asks to be written besides checkpoints: fields for analysis, and totals.
//!
//! Fields are written as checkpoints are: one plain HDF5 file, by the ranks' own writes, while the sweeps go on, and under
//! its final name only when it is complete. What is due at the instant of a checkpoint is written again when a run goes
//! on from it, so that no failure leaves a gap.

use std::time::Instant as WallInstant;

use super::clock::{Clock, Instant};
use super::domain::Domain;
use super::program::Program;
use super::run::Run;
use super::totals::{Table, totals};
use crate::checkpoint::{Header, Outcome as Written, Settings, Verify, Writer};
use crate::comm::Communicator;
use crate::config::{Case, Output, Schedule, Thing};
use crate::error::{Error, Kind, Result};
use crate::field::{Component, Field, Patch, Record, Scalar};

/// The most outputs that a case may ask for: the wall schedules among them share the bits of one number.
const MOST_OUTPUTS: usize = 30;

/// The outputs of a run.
pub(super) struct Outputs<T: Scalar> {
    wanted: Vec<Wanted>,
    table: Option<Table>,
    writer: Writer<T>,
    /// The step whose fields are being written.
    pending: Option<u64>,
    /// What could not be written, and why; for the driver to tell.
    lost: Option<(u64, Error)>,
}

struct Wanted {
    output: Output,
    last: WallInstant,
}

/// Which outputs are due.
#[derive(Debug, Clone, Copy)]
pub(super) struct Due(u32);

impl Due {
    pub fn any(self) -> bool {
        self.0 != 0
    }
}

impl<T: Scalar> Outputs<T> {
    /// Prepares the outputs of a case from an instant on.
    ///
    /// # Collective
    /// Rank 0 opens the files; all get its error.
    pub fn new(comm: &Communicator, case: &Case, run: &Run, components: &[Component], start: Instant) -> Result<Self> {
        if case.outputs.len() > MOST_OUTPUTS {
            return Err(Error::case(format!(
                "the case asks for {} outputs; at most {MOST_OUTPUTS} can be had",
                case.outputs.len()
            )));
        }
        let wants_totals = case.outputs.iter().any(|output| matches!(output.thing, Thing::Totals));
        let table = match wants_totals && comm.rank() == 0 {
            true => Table::open(&run.directory.output_directory(), components, start).map(Some),
            false => Ok(None),
        };
        let wanted = case.outputs.iter().map(|output| Wanted { output: output.clone(), last: WallInstant::now() });
        let settings = Settings {
            directory: run.directory.output_directory(),
            keep: usize::MAX,
            verify: Verify::None,
            threads: case.run.threads,
            fence: run.fence(),
            tick: Some(run.heartbeat.ticker()),
        };
        Ok(Outputs {
            wanted: wanted.collect(),
            table: comm.vote(table)?,
            writer: Writer::new(settings),
            pending: None,
            lost: None,
        })
    }

    /// The outputs that are due by this rank's wall clock, one bit each.
    pub fn wall_due(&self) -> u32 {
        let due = |wanted: &Wanted| matches!(wanted.output.every, Schedule::Wall(interval) if wanted.last.elapsed() >= interval);
        self.bits(due)
    }

    /// The outputs that are due: by the clock, by rank 0's wall clock, and all of them at the first and last instant.
    pub fn due(&self, clock: &Clock, over: bool, wall_due: u32) -> Due {
        let always = clock.now().step == 0 || over;
        Due(wall_due | self.bits(|wanted| always || clock.is_due(&wanted.output.every)))
    }

    /// How far the pending output has come on this rank.
    pub fn report(&self) -> f64 {
        self.writer.report()
    }

    /// Moves the pending output on as far as all ranks are.
    pub fn advance(&mut self, comm: &Communicator, agreed: f64) -> Result<()> {
        let written = self.writer.advance(comm, agreed)?;
        self.note(written)
    }

    /// Writes the outputs that are due; fields go on to be written while the sweeps go on.
    ///
    /// # Collective
    /// All ranks must call it with the same outputs due.
    pub fn write<P: Program<N, State: Record<Scalar = T>>, const N: usize>(
        &mut self,
        due: Due,
        now: Instant,
        header: &Header,
        program: &P,
        domain: &Domain<P::State, N>,
    ) -> Result<()> {
        let Domain { comm, state, tiling, partition, .. } = domain;
        let mut selected: Vec<usize> = Vec::new();
        let mut wants_totals = false;
        for (_, wanted) in self.wanted.iter_mut().enumerate().filter(|(bit, _)| due.0 >> bit & 1 == 1) {
            wanted.last = WallInstant::now();
            match &wanted.output.thing {
                Thing::Totals => wants_totals = true,
                Thing::Fields { components } => selected.extend(components),
            }
        }
        if wants_totals {
            let totals = totals(state, tiling, comm)?;
            comm.vote(self.table.as_mut().map_or(Ok(()), |table| table.append(now, &totals)))?;
        }
        selected.sort_unstable();
        selected.dedup();
        if !selected.is_empty() {
            self.finish(comm)?;
            let part = pick(program, domain, &selected);
            let all: Vec<Component> = header.components.iter().cloned().chain(P::derived()).collect();
            let header = Header { components: selected.iter().map(|&c| all[c].clone()).collect(), ..header.clone() };
            self.pending = Some(now.step);
            self.writer.begin(comm, header, tiling, partition, &part, &domain.costs())?;
        }
        Ok(())
    }

    /// Whether fields are still being written; the same on all ranks.
    pub fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether the fields of an earlier step than this are still being written; the same on all ranks.
    pub fn is_pending_before(&self, step: u64) -> bool {
        self.pending.is_some_and(|pending| pending < step)
    }

    /// Waits until the fields of an earlier step than this are on stable storage.
    ///
    /// # Collective
    /// All ranks must call it.
    pub fn finish_before(&mut self, comm: &Communicator, step: u64) -> Result<()> {
        if self.is_pending_before(step) { self.finish(comm) } else { Ok(()) }
    }

    /// Waits until all that was begun is on stable storage.
    ///
    /// # Collective
    /// All ranks must call it.
    pub fn finish(&mut self, comm: &Communicator) -> Result<()> {
        let written = self.writer.finish(comm)?;
        self.note(written)
    }

    /// What could not be written since this was asked last.
    pub fn take_lost(&mut self) -> Option<(u64, Error)> {
        self.lost.take()
    }

    /// Keeps the books; a run that lost its directory to another must end.
    fn note(&mut self, written: Option<Written>) -> Result<()> {
        let Some(written) = written else { return Ok(()) };
        self.pending = None;
        match written {
            Written::Committed { path, .. } => log::debug!("wrote {}", path.display()),
            Written::Discarded { error, .. } if error.kind() == Kind::Run => return Err(error),
            Written::Discarded { step, error } => self.lost = Some((step, error)),
        }
        Ok(())
    }

    fn bits(&self, is_due: impl Fn(&Wanted) -> bool) -> u32 {
        self.wanted.iter().enumerate().map(|(bit, wanted)| u32::from(is_due(wanted)) << bit).sum()
    }
}

/// A copy of some components, without ghosts: those of the state come first, then the derived ones.
fn pick<P: Program<N>, const N: usize>(
    program: &P,
    domain: &Domain<P::State, N>,
    selected: &[usize],
) -> Field<<P::State as Record>::Scalar, N> {
    let Domain { comm, state, tiling, partition, .. } = domain;
    let mut part = Field::new(tiling, partition, comm.rank(), 0, selected.len());
    for (from, to) in state.patches().iter().zip(part.patches_mut()) {
        for (index, &component) in selected.iter().enumerate() {
            match component.checked_sub(P::State::COMPONENTS) {
                None => to.interior_array_mut(index).assign(&from.interior_array(component)),
                Some(derived) => derive(program, derived, from, index, to),
            }
        }
    }
    part
}

/// Sets one component of a block to one that is derived from the state.
fn derive<P: Program<N>, const N: usize>(
    program: &P,
    derived: usize,
    from: &Patch<<P::State as Record>::Scalar, N>,
    index: usize,
    to: &mut Patch<<P::State as Record>::Scalar, N>,
) {
    for cell in from.interior().cells() {
        let position = to.position(cell) + index * to.plane();
        let data = to.data_mut();
        program.derive(from.get(cell), |d, value| {
            if d == derived {
                data[position] = value;
            }
        });
    }
}
