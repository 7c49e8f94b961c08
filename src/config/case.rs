//! The case as checked: what the other rooms read, with all defaults filled in.

use std::path::PathBuf;
use std::time::Duration;

use super::guard::Guard;
use super::keys::Word;
use super::local::Local;
use super::schedule::Schedule;
use crate::error::{Error, Result};
use crate::grid::{Boundaries, Boundary, Grid, Vector};
use crate::scheme::Scheme;

/// A case that has been checked: every number is in range, every list has its length, every default is filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The name of the case file without its extension.
    pub name: String,
    /// What the case is about, for people; empty if the file does not say.
    pub title: String,
    /// The names of the record's components.
    pub components: Vec<String>,
    /// The number of cells along x, y, z; its length is the dimension.
    pub cells: Vec<usize>,
    /// The lower corner of the domain, in the model's unit of length.
    pub lower: Vec<f64>,
    /// The upper corner of the domain, in the model's unit of length.
    pub upper: Vec<f64>,
    /// Along which axes the domain is closed to a ring.
    pub periodic: Vec<bool>,
    /// The cells of a block along x, y, z, if the case says so; else a good shape follows from the grid.
    pub block: Option<Vec<usize>>,
    /// By axis, then low and high; without meaning along periodic axes.
    pub boundaries: Vec<[Boundary; 2]>,
    /// A data set to start from; else all of the initial state comes from the model.
    pub initial: Option<InitialFile>,
    /// The model's own keys, as written.
    pub model: toml::Table,
    /// The finite-volume scheme of a conservation law; none for other programs.
    pub scheme: Option<Scheme>,
    /// How time goes on.
    pub time: Time,
    /// What is written besides checkpoints, and when.
    pub outputs: Vec<Output>,
    /// When the state is saved.
    pub checkpoint: Checkpoint,
    /// How the work is done; never changes the bits.
    pub run: Run,
    /// What is watched for bits that flip; never changes the bits of the result.
    pub guard: Guard,
    /// What the supervisor puts up with.
    pub recovery: Recovery,
}

/// A data set of an HDF5 file that one component starts from: at a cell's centre it is `scale` × the data + `offset`.
#[derive(Debug, Clone, PartialEq)]
pub struct InitialFile {
    /// The file, relative to the directory of the case file: [`Source::resolve`](super::Source::resolve) finds it.
    pub file: PathBuf,
    /// The path of the data set in the file.
    pub dataset: String,
    /// How it is resampled to the grid.
    pub interpolation: Interpolation,
    /// The component that it gives the first values of.
    pub component: usize,
    /// The factor.
    pub scale: f64,
    /// What is added after the factor, in the component's unit.
    pub offset: f64,
}

/// How data are resampled to the grid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interpolation {
    /// The nearest sample.
    Nearest,
    /// Linear between samples along every axis.
    Linear,
}

impl Word for Interpolation {
    const CHOICE: &'static str = "an interpolation";
    const WORDS: &'static [(&'static str, Self)] =
        &[("nearest", Interpolation::Nearest), ("linear", Interpolation::Linear)];
}

/// How time goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Time {
    /// The time at which the run ends exactly, in the model's unit of time; it starts at 0.
    pub end: f64,
    /// The most steps, if the case has a limit; the run ends there even before its end.
    pub steps: Option<u64>,
    /// How long a step is.
    pub step: StepSize,
    /// The scheme; none for a program with steps of its own.
    pub integrator: Option<Integrator>,
}

/// How long a step is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum StepSize {
    /// Always this, in the model's unit of time.
    Fixed(f64),
    /// This part of the shortest timescale that the model finds anywhere.
    Cfl(f64),
}

/// A scheme that takes the state one step further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Integrator {
    /// Euler's explicit method, of first order.
    ForwardEuler,
    /// The strong-stability-preserving Runge–Kutta method with two stages, of second order.
    SspRk2,
    /// The predictor–corrector method of van Leer type, of second order: half a step, then a whole one with the rate from
    /// there. A finite-volume scheme is of first order in the predictor.
    Vl2,
    /// The strong-stability-preserving Runge–Kutta method with three stages, of third order.
    SspRk3,
    /// The classical Runge–Kutta method, of fourth order.
    Rk4,
}

impl Word for Integrator {
    const CHOICE: &'static str = "an integrator";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("forward_euler", Integrator::ForwardEuler),
        ("ssp_rk2", Integrator::SspRk2),
        ("vl2", Integrator::Vl2),
        ("ssp_rk3", Integrator::SspRk3),
        ("rk4", Integrator::Rk4),
    ];
}

/// One output: a thing and its schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// What is written.
    pub thing: Thing,
    /// When.
    pub every: Schedule,
}

/// What an output writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Thing {
    /// Whole fields.
    Fields {
        /// The components, by number, in the order of the case file.
        components: Vec<usize>,
    },
    /// The exact sums of all components over the grid.
    Totals,
}

/// When the state is saved, how many are kept, and how they are verified.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// When a checkpoint is due; by measurement, within [`interval`](Self::interval), if the case leaves it open.
    pub every: Option<Schedule>,
    /// The bounds of the interval that follows from measurement.
    pub interval: Bounds,
    /// How many good ones are kept, at least 2.
    pub keep: usize,
    /// What is read back before a checkpoint counts.
    pub verify: Verify,
    /// Checkpoints on the nodes themselves, if the case asks for them.
    pub local: Option<Local>,
}

/// The bounds of a span of wall time that follows from measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub at_least: Duration,
    /// The longest.
    pub at_most: Duration,
}

/// What of a checkpoint is read back and compared with its checksums before it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verify {
    /// Every block.
    All,
    /// Some blocks.
    Sample,
    /// Nothing.
    None,
}

impl Word for Verify {
    const CHOICE: &'static str = "a way to verify";
    const WORDS: &'static [(&'static str, Self)] =
        &[("all", Verify::All), ("sample", Verify::Sample), ("none", Verify::None)];
}

/// How the work is done; never changes the bits.
#[derive(Debug, Clone, PartialEq)]
pub struct Run {
    /// The threads of each rank.
    pub threads: usize,
    /// The sweeps between two exchanges.
    pub sweeps_per_exchange: usize,
    /// How halos travel.
    pub exchange: Exchange,
}

/// How halos travel between ranks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exchange {
    /// As `Neighbourhood`, but within a node through memory that both ranks see.
    SharedMemory,
    /// By one neighbourhood collective.
    Neighbourhood,
    /// By a message to each neighbour.
    PointToPoint,
}

impl Word for Exchange {
    const CHOICE: &'static str = "a way of exchange";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("shared_memory", Exchange::SharedMemory),
        ("neighbourhood", Exchange::Neighbourhood),
        ("point_to_point", Exchange::PointToPoint),
    ];
}

/// What the supervisor puts up with.
#[derive(Debug, Clone, PartialEq)]
pub struct Recovery {
    /// Ranks that compute and do not move for so long count as hung: ten times the longest step, within these bounds.
    pub hang_after: Bounds,
    /// After so many failures without a new good checkpoint between them the run stops.
    pub failures_without_progress: u32,
    /// The fewest ranks that the run may go on with when nodes are lost; none if it needs as many as were asked for.
    pub fewest_ranks: Option<usize>,
    /// The signals at which the run saves and stops.
    pub stop_signals: Vec<StopSignal>,
}

/// A signal at which a run saves and stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopSignal {
    /// What batch systems, preemption and `kill` send.
    Term,
    /// Ctrl-C; a second one ends the run at once.
    Int,
    /// The usual warning of a batch system.
    Usr1,
    /// The other warning of a batch system.
    Usr2,
    /// The terminal is gone.
    Hup,
}

impl StopSignal {
    /// Those that a case listens to if it does not say.
    pub const DEFAULT: [StopSignal; 3] = [StopSignal::Term, StopSignal::Int, StopSignal::Usr1];

    /// The system's number for it.
    pub fn number(self) -> i32 {
        match self {
            StopSignal::Term => signal_hook::consts::SIGTERM,
            StopSignal::Int => signal_hook::consts::SIGINT,
            StopSignal::Usr1 => signal_hook::consts::SIGUSR1,
            StopSignal::Usr2 => signal_hook::consts::SIGUSR2,
            StopSignal::Hup => signal_hook::consts::SIGHUP,
        }
    }
}

impl Word for StopSignal {
    const CHOICE: &'static str = "a signal to stop at";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("SIGTERM", StopSignal::Term),
        ("SIGINT", StopSignal::Int),
        ("SIGUSR1", StopSignal::Usr1),
        ("SIGUSR2", StopSignal::Usr2),
        ("SIGHUP", StopSignal::Hup),
    ];
}

impl Case {
    /// The number of axes: 1, 2 or 3.
    pub fn dimension(&self) -> usize {
        self.cells.len()
    }

    /// The grid.
    ///
    /// # Errors
    /// If the case has another number of axes than `N`.
    pub fn grid<const N: usize>(&self) -> Result<Grid<N>> {
        let lower = Vector(self.per_axis(&self.lower)?);
        Grid::new(
            self.per_axis(&self.cells)?,
            lower,
            Vector(self.per_axis(&self.upper)?),
            self.per_axis(&self.periodic)?,
        )
    }

    /// The block shape that the case asks for, if it does.
    ///
    /// # Errors
    /// If the case has another number of axes than `N`.
    pub fn block<const N: usize>(&self) -> Result<Option<[usize; N]>> {
        self.block.as_deref().map(|block| self.per_axis(block)).transpose()
    }

    /// What lies beyond the domain's faces.
    ///
    /// # Panics
    /// If the case has another number of axes than `N`; [`grid`](Self::grid) refuses that with an error.
    pub fn boundaries<const N: usize>(&self) -> Boundaries<N> {
        assert_eq!(self.dimension(), N, "the boundaries of a case are asked for in its own dimension");
        Boundaries { faces: std::array::from_fn(|a| self.boundaries[a].clone()) }
    }

    fn per_axis<T: Copy, const N: usize>(&self, list: &[T]) -> Result<[T; N]> {
        list.try_into().map_err(|_| {
            Error::case(format!("the case {} has {} axes where {N} are needed", self.name, self.dimension()))
        })
    }
}
