//! Finds the newest good checkpoint, of the run directory or on the nodes, and sets the state from it.
//!
//! What does not belong to this case stops the run: it is not ours to discard. What belongs to it but is damaged is
//! passed over for the one before, named in the journal, and set aside once there is a good one to go on from.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant as WallInstant;

use serde::{Deserialize, Serialize};

use super::chronicle::Chronicle;
use super::clock::Instant;
use super::domain::Domain;
use super::layout::Layout;
use super::local::OnNodes;
use super::program::Program;
use super::run::{Run, Start};
use crate::checkpoint::{self, Header, Reader};
use crate::comm::Communicator;
use crate::config::Case;
use crate::error::{Error, Kind, Result};
use crate::field::Record;
use crate::nearby::{self, Save, Survey};
use crate::rundir::{Event, Finished, Journal, Times};

/// The checkpoints that a run may go on from, newest first, as rank 0 found them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Found {
    /// The run that they are of, as the newest of them or else the journal says.
    run_id: Option<String>,
    /// With their steps.
    candidates: Vec<(u64, PathBuf)>,
    rejected: Vec<(PathBuf, String)>,
    /// The newest instant that lies beyond the end that the case asks for: good, but of no use.
    beyond: Option<Instant>,
    /// Those of the rejected that are damaged for good.
    damaged: Vec<PathBuf>,
    /// The measured costs of the blocks of this shape, from the newest candidate; on rank 0 alone, which cuts the curve.
    #[serde(skip)]
    block: Vec<usize>,
    #[serde(skip)]
    costs: Vec<f64>,
    /// What lies on the nodes, if the case asks for that.
    #[serde(skip)]
    pub on_nodes: Option<OnNodes>,
    /// What keeps a node-local checkpoint from being used, by its place.
    #[serde(skip)]
    refused: Vec<Option<Refusal>>,
}

/// Why a node-local checkpoint is not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Refusal {
    /// It is of no use, and nobody needs to be told.
    Useless,
    /// It would have been of use.
    Because(String),
}

/// What a run goes on from.
pub(super) struct Resumed {
    pub header: Header,
    /// Whether it is a checkpoint of the run directory, on stable storage.
    pub is_shared: bool,
    /// The node-local checkpoints that are kept, the newest first.
    pub kept: Vec<Save>,
}

impl Found {
    /// The measured costs along the curve, if they were measured for these blocks; for rank 0 to ask.
    pub fn costs<const N: usize>(&self, layout: &Layout<N>) -> Option<Vec<f64>> {
        let tiling = &layout.tiling;
        let fits = self.block == tiling.shape() && self.costs.len() == tiling.len();
        fits.then(|| tiling.ids().map(|id| self.costs[tiling.chunk(id)]).collect())
    }

    /// The newest first; a shared checkpoint comes before a node-local one of the same step, which may be lost sooner.
    fn candidates(&self) -> Vec<Candidate<'_>> {
        let shared = self.candidates.iter().map(|(step, path)| Candidate::Shared(*step, path));
        let surveys = self.on_nodes.iter().map(|on_nodes| &on_nodes.survey);
        let local = surveys.flat_map(|survey| {
            survey
                .saves
                .iter()
                .zip(&self.refused)
                .map(move |(save, refused)| Candidate::Local(survey, save, refused.as_ref()))
        });
        let mut all: Vec<_> = shared.chain(local).collect();
        all.sort_by_key(|candidate| std::cmp::Reverse(candidate.step()));
        all
    }

    /// The blocks' costs of the newest candidate, if that is a node-local one.
    fn take_newest_costs(&mut self) {
        let usable = |candidate: &Candidate<'_>| !matches!(candidate, Candidate::Local(_, _, Some(_)));
        if let Some(Candidate::Local(_, save, _)) = self.candidates().into_iter().find(usable)
            && let Some(costs) = save.costs()
        {
            (self.block, self.costs) = (save.head().header.block.clone(), costs);
        }
    }

    /// The node-local checkpoints up to a step that could be used again, the newest first and at most so many.
    fn kept(&self, step: u64, most: usize) -> Vec<Save> {
        let saves = self.on_nodes.iter().flat_map(|on_nodes| &on_nodes.survey.saves).zip(&self.refused);
        let whole = saves.filter(|(save, refused)| refused.is_none() && save.head().header.step <= step);
        whole.map(|(save, _)| save.clone()).take(most).collect()
    }
}

/// What a run may go on from.
enum Candidate<'f> {
    Shared(u64, &'f Path),
    Local(&'f Survey, &'f Save, Option<&'f Refusal>),
}

impl Candidate<'_> {
    fn step(&self) -> u64 {
        match self {
            Candidate::Shared(step, _) => *step,
            Candidate::Local(_, save, _) => save.head().header.step,
        }
    }
}

/// Looks through the run directory.
///
/// # Collective
/// Rank 0 looks; all get what it found.
pub(super) fn find<P: Program<N>, const N: usize>(comm: &Communicator, case: &Case, run: &Run) -> Result<Found> {
    let looked = comm.vote(if comm.rank() == 0 { look::<P, N>(case, run).map(Some) } else { Ok(None) })?;
    let (block, costs) = looked.as_ref().map(|found| (found.block.clone(), found.costs.clone())).unwrap_or_default();
    let mut found: Found = Found { block, costs, ..comm.broadcast(0, looked)? };
    if let Some(local) = &case.checkpoint.local {
        let on_nodes = OnNodes::look(comm, local, run, found.run_id.as_deref())?;
        let refused = comm.is_root().then(|| refuse::<P, N>(&on_nodes.survey, case, run));
        found.refused = comm.broadcast(0, refused)?;
        found.on_nodes = Some(on_nodes);
        if comm.is_root() {
            found.take_newest_costs();
        }
    }
    Ok(found)
}

/// What keeps each of the node-local checkpoints from being used; for rank 0 to say.
fn refuse<P: Program<N>, const N: usize>(survey: &Survey, case: &Case, run: &Run) -> Vec<Option<Refusal>> {
    let refuse = |save: &Save| {
        let header = &save.head().header;
        if let Err(error) = belongs::<P, N>(header, case, run) {
            log::warn!("a node-local checkpoint of step {} is passed over: {}", header.step, error.message());
            Some(Refusal::Useless)
        } else if is_beyond(header, case) {
            Some(Refusal::Useless)
        } else if run.orders.skip_checkpoints.contains(&header.step) {
            Some(Refusal::Because(POISON.into()))
        } else {
            survey.lack(save).map(Refusal::Because)
        }
    };
    survey.saves.iter().map(refuse).collect()
}

/// Why a checkpoint is not used that the supervisor takes for poison.
const POISON: &str = "the run died again and again after it";

fn is_beyond(header: &Header, case: &Case) -> bool {
    header.time > case.time.end || case.time.steps.is_some_and(|steps| header.step > steps)
}

fn look<P: Program<N>, const N: usize>(case: &Case, run: &Run) -> Result<Found> {
    let mut found = Found::default();
    if run.start == Start::Fresh {
        return Ok(found);
    }
    for entry in run.directory.checkpoints()? {
        if run.orders.skip_checkpoints.contains(&entry.step) {
            found.rejected.push((entry.path, POISON.into()));
            continue;
        }
        match Reader::open(&entry.path) {
            Ok(reader) => {
                let header = reader.header();
                belongs::<P, N>(header, case, run).map_err(|error| error.at_path(&entry.path))?;
                if is_beyond(header, case) {
                    found.beyond.get_or_insert(Instant { step: header.step, time: header.time });
                    continue;
                }
                if found.candidates.is_empty() {
                    found.run_id = Some(header.run_id.clone());
                    (found.block, found.costs) = (reader.header().block.clone(), reader.costs().to_vec());
                }
                found.candidates.push((entry.step, entry.path));
            }
            // Intact, but of another version or machine: it is not ours to pass over.
            Err(error) if error.kind() == Kind::Run => return Err(error.at_path(&entry.path)),
            Err(error) => {
                found.damaged.extend((error.kind() == Kind::Checkpoint).then(|| entry.path.clone()));
                found.rejected.push((entry.path, error.message().into()));
            }
        }
    }
    if found.run_id.is_none() {
        found.run_id = Journal::read(&run.directory)?.into_iter().rev().find_map(|entry| match entry.event {
            Event::Started { run_id, .. } => Some(run_id),
            _ => None,
        });
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
    case: &Case,
    domain: &mut Domain<S, N>,
    chronicle: &mut Chronicle<'_>,
) -> Result<Option<Resumed>> {
    for (path, reason) in &found.rejected {
        chronicle.rejected(path, reason);
    }
    let (mut bad, mut damaged) = (found.rejected.clone(), found.damaged.clone());
    for candidate in found.candidates() {
        let Domain { comm, tiling, partition, state, .. } = &mut *domain;
        let tick = || chronicle.run().heartbeat.progress();
        let resumed = match candidate {
            Candidate::Local(_, _, Some(Refusal::Useless)) => continue,
            Candidate::Local(_, _, Some(Refusal::Because(reason))) => {
                chronicle.rejected_local(candidate.step(), reason);
                continue;
            }
            Candidate::Local(survey, save, None) => {
                let start = WallInstant::now();
                match nearby::restore(comm, survey, save, (tiling, partition), state, &tick) {
                    Ok(restored) => {
                        let step = candidate.step();
                        chronicle.restored_locally(step, restored, start.elapsed().as_secs_f64());
                        let keep = case.checkpoint.local.as_ref().map_or(0, |local| local.keep);
                        let (header, kept) = (save.head().header.clone(), found.kept(step, keep));
                        Ok(Resumed { header, is_shared: false, kept })
                    }
                    Err(error) if error.kind() == Kind::Mpi => return Err(error),
                    Err(error) => {
                        chronicle.rejected_local(candidate.step(), error.message());
                        continue;
                    }
                }
            }
            Candidate::Shared(_, path) => checkpoint::restore(comm, path, tiling, partition, state, &tick)
                .map(|header| Resumed { header, is_shared: true, kept: Vec::new() })
                .map_err(|error| (path, error)),
        };
        match resumed {
            Ok(resumed) => {
                if comm.rank() == 0 {
                    damaged.iter().for_each(|path| set_aside(path));
                }
                return Ok(Some(resumed));
            }
            Err((_, error)) if error.kind() == Kind::Mpi => return Err(error),
            Err((path, error)) => {
                damaged.extend((error.kind() == Kind::Checkpoint).then(|| path.to_owned()));
                chronicle.rejected(path, error.message());
                bad.push((path.to_owned(), error.message().into()));
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
    Times::remove(&run.directory)?;
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
