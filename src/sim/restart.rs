//! Finds the newest good checkpoint of the run directory, and sets the state from it.
//!
//! What does not belong to this case stops the run: it is not ours to discard. What belongs to it but is damaged is
//! passed over for the one before, named in the journal, and set aside once there is a good one to go on from.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::chronicle::Chronicle;
use super::clock::Instant;
use super::domain::Domain;
use super::layout::Layout;
use super::program::Program;
use super::run::{Run, Start};
use crate::checkpoint::{self, Header, Reader};
use crate::comm::Communicator;
use crate::config::Case;
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::rundir::Finished;

/// The checkpoints that a run may go on from, newest first, as rank 0 found them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Found {
    candidates: Vec<PathBuf>,
    rejected: Vec<(PathBuf, String)>,
    /// The newest instant that lies beyond the end that the case asks for: good, but of no use.
    beyond: Option<Instant>,
    /// Those of the rejected that are damaged for good.
    damaged: Vec<PathBuf>,
    /// The measured costs of the blocks of this shape, from the newest candidate.
    block: Vec<usize>,
    costs: Vec<f64>,
}

impl Found {
    /// The measured costs along the curve, if they were measured for these blocks.
    pub fn costs<const N: usize>(&self, layout: &Layout<N>) -> Option<Vec<f64>> {
        let tiling = &layout.tiling;
        let fits = self.block == tiling.shape() && self.costs.len() == tiling.len();
        fits.then(|| tiling.ids().map(|id| self.costs[tiling.chunk(id)]).collect())
    }
}

/// Looks through the run directory.
///
/// # Collective
/// Rank 0 looks; all get what it found.
pub(super) fn find<P: Program<N>, const N: usize>(comm: &Communicator, case: &Case, run: &Run) -> Result<Found> {
    let found = if comm.rank() == 0 { look::<P, N>(case, run).map(Some) } else { Ok(None) };
    comm.broadcast(0, comm.vote(found)?)
}

fn look<P: Program<N>, const N: usize>(case: &Case, run: &Run) -> Result<Found> {
    let mut found = Found::default();
    if run.start == Start::Fresh {
        return Ok(found);
    }
    for entry in run.directory.checkpoints()? {
        if run.orders.skip_checkpoints.contains(&entry.step) {
            found.rejected.push((entry.path, "the run died again and again after it".into()));
            continue;
        }
        match Reader::open(&entry.path) {
            Ok(reader) => {
                let header = reader.header();
                belongs::<P, N>(header, case, run).map_err(|error| error.at_path(&entry.path))?;
                if header.time > case.time.end || case.time.steps.is_some_and(|steps| header.step > steps) {
                    found.beyond.get_or_insert(Instant { step: header.step, time: header.time });
                    continue;
                }
                if found.candidates.is_empty() {
                    (found.block, found.costs) = (reader.header().block.clone(), reader.costs().to_vec());
                }
                found.candidates.push(entry.path);
            }
            Err(error) => {
                found.damaged.extend((error.kind() == Kind::Checkpoint).then(|| entry.path.clone()));
                found.rejected.push((entry.path, error.message().into()));
            }
        }
    }
    match found.beyond {
        Some(at) if found.candidates.is_empty() => Err(Error::case(format!(
            "the run directory has no checkpoint before the end that the case asks for: time.end = {}{}, and the run is at time {}, step {}",
            case.time.end,
            case.time.steps.map(|steps| format!(", time.max_steps = {steps}")).unwrap_or_default(),
            at.time,
            at.step
        ))
        .hint("use another --dir, or --fresh to start over and discard what is there")),
        _ => Ok(found),
    }
}

/// Refuses a checkpoint of another program, grid, state or physics.
fn belongs<P: Program<N>, const N: usize>(header: &Header, case: &Case, run: &Run) -> Result<()> {
    let other = |what: String| {
        Err(Error::new(Kind::Checkpoint, format!("the run directory has a checkpoint of another run: {what}"))
            .hint("use another --dir, or --fresh to start over and discard what is there"))
    };
    if header.program != run.program {
        return other(format!("its program is {:?}, this one is {:?}", header.program, run.program));
    }
    if header.cells != case.cells {
        return other(format!("its grid has {:?} cells, the case has {:?}", header.cells, case.cells));
    }
    if header.scalar != P::State::kind() || header.components != P::components() {
        let names = |components: &[crate::field::Component]| {
            components.iter().map(|c| c.name.as_str()).collect::<Vec<_>>().join(", ")
        };
        return other(format!(
            "its state is {} of {}, this program's is {} of {}",
            names(&header.components),
            header.scalar.name(),
            names(&P::components()),
            P::State::kind().name()
        ));
    }
    if let Err(cause) = shared_of::<P, N>(header) {
        return other(format!("what its ranks held alike is not of this program: {cause}"));
    }
    match case.physics_difference(&header.physics) {
        Some(difference) => other(difference),
        None => Ok(()),
    }
}

/// What all ranks held alike when a checkpoint was taken.
pub(super) fn shared_of<P: Program<N>, const N: usize>(header: &Header) -> serde_json::Result<P::Shared> {
    P::Shared::deserialize(header.replicated.get(Header::SHARED).unwrap_or(&serde_json::Value::Null))
}

/// Sets the state from the newest candidate that proves good; `None` if there is nothing to go on from.
///
/// # Collective
/// All ranks must call it; all take the same candidate.
///
/// # Errors
/// If there are checkpoints and none is good.
pub(super) fn restore<S: Record, const N: usize>(
    found: &Found,
    domain: &mut Domain<S, N>,
    chronicle: &mut Chronicle<'_>,
) -> Result<Option<Header>> {
    for (path, reason) in &found.rejected {
        chronicle.rejected(path, reason);
    }
    let (mut bad, mut damaged) = (found.rejected.clone(), found.damaged.clone());
    for path in &found.candidates {
        let Domain { comm, tiling, partition, state, .. } = &mut *domain;
        let tick = || chronicle.run().heartbeat.progress();
        match checkpoint::restore(comm, path, tiling, partition, state, &tick) {
            Ok(header) => {
                if comm.rank() == 0 {
                    damaged.iter().for_each(|path| set_aside(path));
                }
                return Ok(Some(header));
            }
            Err(error) if error.kind() == Kind::Mpi => return Err(error),
            Err(error) => {
                damaged.extend((error.kind() == Kind::Checkpoint).then(|| path.clone()));
                chronicle.rejected(path, error.message());
                bad.push((path.clone(), error.message().into()));
            }
        }
    }
    match bad.first() {
        None => Ok(None),
        Some((path, reason)) => Err(Error::new(
            Kind::Checkpoint,
            format!("none of the run's {} checkpoints is good; the newest: {reason}", bad.len()),
        )
        .at_path(path)
        .hint("`steadfast verify` tells what is wrong with each; --fresh starts over and discards them")),
    }
}

/// Sees that a damaged checkpoint is not kept in the place of a good one. If that fails, the run goes on all the same.
fn set_aside(path: &Path) {
    match checkpoint::store::set_aside(path) {
        Ok(bad) => log::warn!("the damaged checkpoint {} now lies in {}", path.display(), bad.display()),
        Err(error) => log::warn!("{error}"),
    }
}

/// Removes what an earlier run left, so that this one starts over.
///
/// # Collective
/// Rank 0 removes; all get its error.
pub(super) fn discard(comm: &Communicator, run: &Run) -> Result<()> {
    comm.vote(if comm.rank() == 0 { remove(run) } else { Ok(()) })
}

fn remove(run: &Run) -> Result<()> {
    Finished::remove(&run.directory)?;
    let (complete, partial) = (run.directory.checkpoints()?, run.directory.partials()?);
    let outputs = run.directory.outputs()?;
    if !complete.is_empty() || !outputs.is_empty() {
        let bytes: u64 = complete.iter().chain(&outputs).map(|entry| entry.bytes).sum();
        let newest = complete.first().map_or(0, |entry| entry.step);
        log::warn!(
            "--fresh discards {} checkpoints (newest of step {newest}) and {} outputs, {bytes} bytes, in {}",
            complete.len(),
            outputs.len(),
            run.directory.root().display()
        );
    }
    for entry in complete.iter().chain(&partial).chain(&outputs) {
        fs::remove_file(&entry.path).map_err(|cause| Error::io("discard an old checkpoint", &entry.path, &cause))?;
    }
    Ok(())
}
