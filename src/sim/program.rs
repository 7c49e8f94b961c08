//! What the driver drives: work on partitioned data that goes on in steps.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::domain::Domain;
use crate::error::{Error, Result};
use crate::field::{Component, Record};

/// Work on data that is partitioned over the ranks, going on in steps.
///
/// It declares once what it works on: a record in each cell of the grid, which is shared out over the ranks, and values
/// that every rank holds alike. The declaration is all that the framework needs to save, restore, repartition and
/// fingerprint it; checkpoints, restarts, recovery, outputs and the command line come with it. A [`Model`](super::Model)
/// and a [`ConservationLaw`](crate::scheme::ConservationLaw) are carried by a program of the library; whatever is no
/// stencil is one of its own.
///
/// For the promise of the same bits on any number of ranks, what it computes must not depend on who computes it: use
/// [`ExactSum`](crate::comm::ExactSum), integers, minima and maxima across ranks.
///
/// The parameters are read from the `[model]` table of the case file by `Deserialize`, and all ranks have the same. A case
/// has `time.end` as the number of steps, or as simulated time with `time.step`; a program that knows when it is done may
/// do without.
///
/// # Example
/// ```
/// use steadfast::prelude::*;
///
/// /// Sorts nothing, but counts how often each number was halved before it was below one.
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Halvings {}
///
/// impl Program<1> for Halvings {
///     type State = f64;
///     type Shared = u64; // the halvings in all, on all ranks
///
///     fn begin(&mut self, numbers: &mut Domain<f64, 1>) -> Result<u64> {
///         numbers.set_each(|cell, _| cell.0[0] as f64);
///         Ok(0)
///     }
///
///     fn step(&mut self, numbers: &mut Domain<f64, 1>, count: &mut u64, _step: &Step<'_>) -> Result<()> {
///         let mut halved = [0];
///         for block in numbers.state_mut().patches_mut() {
///             for number in block.interior_array_mut(0).iter_mut().filter(|number| **number >= 1.0) {
///                 *number *= 0.5;
///                 halved[0] += 1;
///             }
///         }
///         numbers.comm().sum_i64(&mut halved)?;
///         *count += halved[0] as u64;
///         Ok(())
///     }
/// }
/// ```
pub trait Program<const N: usize>: Sized {
    /// What each cell of the partitioned data holds.
    type State: Record;

    /// What every rank holds alike; `()` if there is nothing. It is written to the header of a checkpoint as JSON, so let it be
    /// small, and its numbers finite.
    type Shared: Serialize + DeserializeOwned;

    /// Whether the number of a step means anything. Where steps only follow the clock on the wall, as the rounds of a farm
    /// do, a case cannot ask for an end or a schedule in steps or in simulated time.
    const COUNTS_STEPS: bool = true;

    /// The names and units of the state's components; those of the record unless the program knows better.
    fn components() -> Vec<Component> {
        Self::State::components()
    }

    /// The names and units of what outputs can have besides, computed from the state when it is written.
    fn derived() -> Vec<Component> {
        Vec::new()
    }

    /// Whether the parameters make sense together; asked once, before anything runs.
    ///
    /// # Errors
    /// An [`Error::case`] that names the key, its value and the rule.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// What the layout of the data has to provide.
    fn needs(&self) -> Needs {
        Needs::default()
    }

    /// What a step moves through memory at least, if the program knows.
    fn traffic(&self) -> Option<Traffic> {
        None
    }

    /// The most cells along x and y of a tile of a patch of this extent, if the program sweeps by tiles that suit a core's cache.
    fn tile(&self, _extent: [usize; N]) -> Option<[usize; 2]> {
        None
    }

    /// Prepares what no checkpoint keeps, as input data that are read again at each start; relative paths start at
    /// `directory`, that of the case file.
    ///
    /// # Collective
    /// All ranks call it; an error of one rank becomes that of all when it returns.
    ///
    /// # Errors
    /// Whatever keeps the program from running.
    fn prepare(&mut self, _data: &Domain<Self::State, N>, _directory: &Path) -> Result<()> {
        Ok(())
    }

    /// Sets the data at step 0, and returns what all ranks hold alike.
    ///
    /// # Collective
    /// All ranks call it; an error of one rank becomes that of all when it returns.
    ///
    /// # Errors
    /// Whatever keeps the program from running.
    fn begin(&mut self, data: &mut Domain<Self::State, N>) -> Result<Self::Shared>;

    /// Makes the rest of the data at step 0 follow from a component that was read from a dataset of the case.
    fn settle(&mut self, _data: &mut Domain<Self::State, N>) {}

    /// Prepares what follows from the data once they are set, at step 0 or from a checkpoint.
    ///
    /// # Collective
    /// All ranks call it; an error of one rank becomes that of all when it returns.
    ///
    /// # Errors
    /// Whatever keeps the program from running.
    fn ready(&mut self, _data: &Domain<Self::State, N>, _shared: &Self::Shared) -> Result<()> {
        Ok(())
    }

    /// Does one step.
    ///
    /// # Collective
    /// All ranks call it with the same step. An error of one rank becomes that of all after it; but where the step has
    /// collective calls, a rank must not leave before one that the others make: [vote](crate::comm::Communicator::vote) first.
    ///
    /// # Errors
    /// Whatever keeps the program from going on; the run ends with it.
    fn step(&mut self, data: &mut Domain<Self::State, N>, shared: &mut Self::Shared, step: &Step<'_>) -> Result<()>;

    /// How many steps may be asked for at a time, if nobody looks at the state between them.
    fn at_once(&self) -> usize {
        1
    }

    /// Does some steps, at most [`at_once`](Self::at_once), one after the other.
    ///
    /// # Collective
    /// As [`step`](Self::step).
    ///
    /// # Errors
    /// As [`step`](Self::step).
    fn steps(
        &mut self,
        data: &mut Domain<Self::State, N>,
        shared: &mut Self::Shared,
        steps: &[Step<'_>],
    ) -> Result<()> {
        steps.iter().try_for_each(|step| self.step(data, shared, step))
    }

    /// How things are on this rank, after a step or a restart.
    fn progress(&self, data: &Domain<Self::State, N>, _shared: &Self::Shared) -> Progress {
        Progress { sound: data.is_finite(), ..Progress::GOING_ON }
    }

    /// What is wrong on this rank, if its progress said that something is.
    fn explain(&self, data: &Domain<Self::State, N>) -> Option<Error> {
        data.explain_not_finite(&Self::components())
    }

    /// Gives the derived components of one cell to `put`, in their order.
    fn derive(&self, _state: Self::State, _put: impl FnMut(usize, <Self::State as Record>::Scalar)) {}
}

/// What the layout of a program's data has to provide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// How far a sweep reads, in cells along each axis.
    pub reach: usize,
    /// How many sweeps there are between two exchanges: ghosts are `sweeps · reach` deep.
    pub sweeps: usize,
    /// How many copies of the state there are in memory.
    pub buffers: usize,
}

impl Default for Needs {
    /// No ghosts, one copy.
    fn default() -> Self {
        Needs { reach: 0, sweeps: 1, buffers: 1 }
    }
}

impl Needs {
    /// How many ghosts a patch has on every side.
    pub fn width(&self) -> usize {
        self.reach * self.sweeps
    }
}

/// What a step moves through memory, cell by cell, if nothing stays in a cache from one sweep to the next: by it the report at
/// the end of a run tells how near the sweeps came to what memory allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// The sweeps over each cell.
    pub sweeps: usize,
    /// The numbers that are read and written for each component, those included that a processor reads only to overwrite them.
    pub numbers: usize,
    /// What is known of sweeps that go through a core's cache together; none if they cannot.
    pub together: Option<Together>,
}

/// What sweeps move that go through a core's cache together: each buffer once each way, however many they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Together {
    /// The buffers that they work on.
    pub buffers: usize,
    /// The sweeps of a step that count: those that read neighbours.
    pub sweeps: usize,
    /// Whether sweeps of several steps may go together, as they may if the steps have a fixed length.
    pub steps: bool,
}

impl Together {
    /// The numbers that are read and written for each component and step, if so many sweeps go together.
    ///
    /// # Panics
    /// If there are no sweeps.
    pub fn numbers(&self, sweeps: usize) -> f64 {
        let (whole, each) = (sweeps / self.sweeps, 2 * self.buffers);
        match whole {
            0 => (each * self.sweeps.div_ceil(sweeps)) as f64,
            steps if self.steps => each as f64 / steps as f64,
            _ => each as f64,
        }
    }
}

/// One step, as the driver asks for it.
#[derive(Clone, Copy)]
pub struct Step<'a> {
    /// How many steps were done before it.
    pub number: u64,
    /// The simulated time at its start.
    pub time: f64,
    /// Its length in simulated time.
    pub dt: f64,
    /// Shows whoever watches what this rank is busy with.
    pub(super) show: &'a (dyn Fn(Activity) + Sync),
    /// Shows that it moves.
    pub(super) tick: &'a (dyn Fn() + Sync),
}

impl Step<'_> {
    /// Shows whoever watches that this rank moves, and what it does; call it now and then in a step of more than a second.
    pub fn show(&self, activity: Activity) {
        (self.show)(activity);
    }
}

/// What a rank is busy with inside a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Data travel between ranks.
    Exchange,
    /// Cells are computed.
    Sweep,
    /// Waits for a value that all ranks agree on.
    Reduce,
}

/// How things are on one rank. The driver takes together what all ranks say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Progress {
    /// The longest stable step, for programs whose step depends on the state; the shortest of all ranks counts.
    pub timescale: f64,
    /// Whether the state makes sense; if it does not on any rank, the run ends.
    pub sound: bool,
    /// Whether there is nothing left to do; the run ends well if any rank says so.
    pub finished: bool,
    /// A count of what is worth a checkpoint of its own, as finished tasks are: when it has grown, one is taken as soon as
    /// that before it is on stable storage.
    pub news: u64,
    /// The part of the work that is done, from 0 to 1, if the program knows it.
    pub done: Option<f64>,
}

impl Progress {
    /// All is well, and there is more to do.
    pub const GOING_ON: Progress =
        Progress { timescale: f64::INFINITY, sound: true, finished: false, news: 0, done: None };
}
