//! The node-local checkpoints of a run: where they lie, when one is due, what becomes of it.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant as WallInstant};

use super::chronicle::Chronicle;
use super::clock::Clock;
use super::domain::Domain;
use super::run::Run;
use crate::checkpoint::Header;
use crate::comm::{Communicator, Meter};
use crate::config::{self, Schedule};
use crate::error::{Error, Result};
use crate::field::Record;
use crate::nearby::{Folder, Level, Nodes, Outcome, Save, Settings, Survey};
use crate::rundir::Part;

/// The part of the wall time that node-local checkpoints may cost: where they cost more, they come less often.
const MOST_COST: f64 = 0.01;

/// What lies on the nodes when a run begins.
#[derive(Debug, Clone)]
pub(super) struct OnNodes {
    folder: Folder,
    pub survey: Survey,
}

impl OnNodes {
    /// Looks through the nodes for what a run left there; nothing is looked for if its id is not known.
    ///
    /// # Collective
    pub fn look(comm: &Communicator, local: &config::Local, run: &Run, run_id: Option<&str>) -> Result<Self> {
        let root = run.directory.root();
        let path = comm.is_root().then(|| std::fs::canonicalize(root));
        let path = path.transpose().map_err(|cause| Error::io("find the run directory", root, &cause));
        let path: PathBuf = comm.broadcast(0, comm.vote(path)?)?;
        let nodes = Nodes::of(comm)?;
        let folder = Folder::new(&local.directory, &path, nodes.name_of(comm.rank()));
        let survey = match run_id {
            Some(run_id) => Survey::take(comm, nodes, &folder, run_id)?,
            None => Survey { nodes, saves: Vec::new() },
        };
        Ok(OnNodes { folder, survey })
    }
}

/// The cheap level of a run; idle if the case does not ask for it.
pub(super) struct Local(Option<Active>);

struct Active {
    level: Level,
    every: Schedule,
    begun: WallInstant,
    /// What the last one cost.
    cost: Duration,
    meter: Rc<Meter>,
    /// Whether the next one that is saved is worth a line in the journal.
    news: bool,
    /// After a failure the level rests until the next shared checkpoint.
    resting: bool,
}

impl Local {
    /// The level of a case that goes on from what lies on the nodes; all but the `kept` saves is removed there.
    ///
    /// # Collective
    pub fn new(
        comm: &Communicator,
        case: &config::Case,
        run: &Run,
        found: Option<OnNodes>,
        kept: &[Save],
    ) -> Result<Self> {
        let (Some(local), Some(OnNodes { folder, survey })) = (&case.checkpoint.local, found) else {
            return Ok(Local(None));
        };
        let rank = comm.rank();
        let mut held = VecDeque::new();
        if survey.nodes.is_first(rank) {
            held.extend(kept.iter().rev().map(|save| survey.files(save, rank)));
            let files: Vec<PathBuf> = held.iter().flatten().cloned().collect();
            if let Err(error) = folder.sweep(&files) {
                log::warn!("{error}");
            }
        }
        if comm.is_root() && survey.nodes.names().len() == 1 {
            log::warn!("all ranks are on one node: node-local checkpoints have no copy on another");
        }
        let settings = Settings {
            folder,
            keep: local.keep,
            threads: case.run.threads,
            attempt: run.orders.attempt,
            tick: run.heartbeat.ticker(),
        };
        let level = Level::new(comm, settings, survey.nodes, held)?;
        let (every, begun, cost) = (local.every, WallInstant::now(), Duration::ZERO);
        let meter = Rc::clone(comm.meter());
        Ok(Local(Some(Active { level, every, begun, cost, meter, news: true, resting: false })))
    }

    /// Whether one is due by this rank's wall clock.
    pub fn wall_due(&self) -> bool {
        self.0.as_ref().is_some_and(|active| match active.every {
            Schedule::Wall(interval) => {
                active.begun.elapsed() >= interval.max(active.cost.div_f64(MOST_COST)) && active.is_ready()
            }
            _ => false,
        })
    }

    /// Whether one is due, given what rank 0's wall clock says.
    pub fn is_due(&self, clock: &Clock, wall_due: bool) -> bool {
        self.0.as_ref().is_some_and(|active| (wall_due || clock.is_due(&active.every)) && active.is_ready())
    }

    /// How far the one that is being saved has come on this rank.
    pub fn report(&mut self) -> Result<f64> {
        let Some(active) = &mut self.0 else { return Ok(f64::INFINITY) };
        let _saving = active.meter.aside(Part::Checkpoints);
        active.level.report()
    }

    /// Begins one; the sweeps go on while it is saved.
    ///
    /// # Collective
    pub fn begin<S: Record, const N: usize>(&mut self, header: Header, domain: &Domain<S, N>) -> Result<()> {
        let Some(active) = &mut self.0 else { return Ok(()) };
        let costs = domain.costs();
        let Domain { comm, tiling, partition, state, .. } = domain;
        active.begun = WallInstant::now();
        active.level.begin(comm, header, (tiling, partition), state, &costs)
    }

    /// Ends it when all ranks have saved their part, and tells.
    ///
    /// # Collective
    pub fn advance(&mut self, comm: &Communicator, agreed: f64, chronicle: &mut Chronicle<'_>) -> Result<()> {
        let Some(active) = &mut self.0 else { return Ok(()) };
        let _saving = active.meter.aside(Part::Checkpoints);
        match active.level.advance(comm, agreed)? {
            None => {}
            Some(outcome @ Outcome::Saved { cost, .. }) => {
                active.cost = cost;
                let nodes = active.level.nodes().names().len();
                chronicle.saved_locally(&outcome, nodes, std::mem::replace(&mut active.news, false));
            }
            Some(outcome @ Outcome::Failed { .. }) => {
                (active.resting, active.news) = (true, true);
                chronicle.saved_locally(&outcome, 0, true);
            }
        }
        Ok(())
    }

    /// Gives up what was just begun: what was copied is not what it should be.
    ///
    /// # Collective
    pub fn give_up(&mut self) -> Result<()> {
        self.0.as_mut().map_or(Ok(()), |active| active.level.give_up())
    }

    /// A shared checkpoint is there: after a failure the next one may be tried.
    pub fn wake(&mut self) {
        if let Some(active) = &mut self.0 {
            active.resting = false;
        }
    }

    /// Removes all of them: the state is safe in a shared checkpoint, and nodes have others to serve.
    ///
    /// # Collective
    pub fn discard(&mut self, comm: &Communicator) -> Result<()> {
        self.0.take().map_or(Ok(()), |active| active.level.discard(comm))
    }
}

impl Active {
    fn is_ready(&self) -> bool {
        !self.resting && !self.level.is_pending()
    }
}
