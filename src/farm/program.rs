//! The farm as a program: a step is a round, in which ranks tell what is done and are given what is next.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::queue::Queue;
use super::tasks::Tasks;
use super::workers::Workers;
use crate::error::{Error, Kind, Result};
use crate::field::{Component, Record};
use crate::sim::{Activity, Domain, Program, Progress, Step};

/// The longest time from one round to the next: so long may a rank be idle although there is work.
const PATIENCE: Duration = Duration::from_millis(5);

/// A farm of tasks, to be run by [`main_program`](crate::main_program) or a [`Simulation`](crate::sim::Simulation).
///
/// A rank does as many tasks at a time as `run.threads` says.
pub struct Farm<T: Tasks<N>, const N: usize> {
    tasks: Arc<T>,
    work: Option<Work<T::Outcome>>,
}

/// What there is once it is known which tasks are done.
struct Work<R> {
    queue: Queue,
    workers: Workers<R>,
}

impl<T: Tasks<N>, const N: usize> Farm<T, N> {
    /// A farm of these tasks.
    pub fn new(tasks: T) -> Self {
        Farm { tasks: Arc::new(tasks), work: None }
    }
}

impl<'de, T: Tasks<N>, const N: usize> Deserialize<'de> for Farm<T, N> {
    fn deserialize<D: Deserializer<'de>>(parameters: D) -> std::result::Result<Self, D::Error> {
        T::deserialize(parameters).map(Farm::new)
    }
}

/// What a checkpoint keeps of a task: whether it is done (1, else 0), and its outcome.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stored<R> {
    /// 1 if the task is done, else 0.
    pub done: f64,
    /// What came of it; zeros before.
    pub outcome: R,
}

impl<R: Record<Scalar = f64>> Record for Stored<R> {
    type Scalar = f64;
    const COMPONENTS: usize = 1 + R::COMPONENTS;

    fn components() -> Vec<Component> {
        [vec![Component::scalar("done", "1")], R::components()].concat()
    }

    #[inline(always)]
    fn load(get: impl Fn(usize) -> f64) -> Self {
        Stored { done: get(0), outcome: R::load(|c| get(1 + c)) }
    }

    #[inline(always)]
    fn store(self, mut put: impl FnMut(usize, f64)) {
        put(0, self.done);
        self.outcome.store(|c, x| put(1 + c, x));
    }

    #[inline(always)]
    fn zip(self, other: Self, f: impl Fn(f64, f64) -> f64) -> Self {
        Stored { done: f(self.done, other.done), outcome: self.outcome.zip(other.outcome, &f) }
    }
}

/// What a rank tells in a round.
#[derive(Default, Serialize, Deserialize)]
struct News {
    /// How many of its workers are free.
    free: usize,
    /// What was finished: the number of each task and the numbers of its outcome.
    finished: Vec<(usize, Vec<f64>)>,
}

impl<T: Tasks<N>, const N: usize> Program<N> for Farm<T, N> {
    type State = Stored<T::Outcome>;
    type Shared = ();
    const COUNTS_STEPS: bool = false;

    fn check(&self) -> Result<()> {
        self.tasks.check()
    }

    fn begin(&mut self, _data: &mut Domain<Self::State, N>) -> Result<()> {
        Ok(())
    }

    fn ready(&mut self, data: &Domain<Self::State, N>, _shared: &()) -> Result<()> {
        self.work = Some(self.start(data)?);
        Ok(())
    }

    fn step(&mut self, data: &mut Domain<Self::State, N>, _shared: &mut (), step: &Step<'_>) -> Result<()> {
        let Work { queue, workers } = self.work.as_mut().expect("the farm is ready before the first step");
        step.show(Activity::Sweep);
        let mut news = News::default();
        let mut failure = Ok(());
        for finished in workers.collect(PATIENCE) {
            match finished.outcome {
                Ok(outcome) => {
                    let mut numbers = vec![0.0; T::Outcome::COMPONENTS];
                    outcome.store(|c, x| numbers[c] = x);
                    news.finished.push((finished.task, numbers));
                }
                Err(error) => failure = Err(in_task(error, finished.task)),
            }
        }
        // An outcome that is no number would look like one that nobody computed.
        let bad = news.finished.iter().find(|(_, numbers)| numbers.iter().any(|x| !x.is_finite()));
        if let Some((task, numbers)) = bad {
            failure = Err(in_task(Error::new(Kind::State, format!("its outcome {numbers:?} is not finite")), *task));
        }
        news.free = workers.free();
        step.show(Activity::Reduce);
        data.comm().vote(failure)?;
        let all = exchange(data, &news)?;
        for (task, numbers) in all.iter().flat_map(|news| &news.finished) {
            queue.finish(*task);
            keep(data, *task, Stored { done: 1.0, outcome: T::Outcome::load(|c| numbers[c]) });
        }
        for (rank, news) in all.iter().enumerate() {
            for task in (0..news.free).map_while(|_| queue.take()) {
                if rank == data.comm().rank() {
                    log::info!("task {task} begins on rank {rank}");
                    workers.give(task);
                }
            }
        }
        Ok(())
    }

    fn progress(&self, _data: &Domain<Self::State, N>, _shared: &()) -> Progress {
        let Work { queue, .. } = self.work.as_ref().expect("the farm is ready before anybody asks");
        Progress {
            finished: queue.is_over(),
            news: queue.done() as u64,
            done: Some(queue.part_done()),
            ..Progress::GOING_ON
        }
    }
}

impl<T: Tasks<N>, const N: usize> Farm<T, N> {
    /// Finds out what is done, as all ranks must, and starts the threads.
    fn start(&self, data: &Domain<Stored<T::Outcome>, N>) -> Result<Work<T::Outcome>> {
        let grid = *data.grid();
        let mut done = vec![0; grid.volume()];
        for patch in data.state().patches() {
            for cell in patch.interior().cells() {
                done[grid.number(cell)] = i64::from(patch.get::<Stored<T::Outcome>>(cell).done == 1.0);
            }
        }
        data.comm().sum_i64(&mut done)?;
        let done: Vec<bool> = done.into_iter().map(|count| count == 1).collect();
        if data.comm().is_root() {
            log::info!("{} of {} tasks are done already", done.iter().filter(|&&done| done).count(), done.len());
        }
        let (mut priorities, mut costs) = (Vec::with_capacity(done.len()), Vec::with_capacity(done.len()));
        for cell in grid.region().cells() {
            priorities.push(self.tasks.priority(cell, grid.centre(cell)));
            costs.push(self.tasks.cost(cell, grid.centre(cell)));
        }
        let tasks = Arc::clone(&self.tasks);
        let run = move |task| {
            let cell = grid.cell(task);
            tasks.run(cell, grid.centre(cell))
        };
        let workers = Workers::start(data.threads(), run)?;
        Ok(Work { queue: Queue::new(&priorities, costs, &done), workers })
    }
}

/// What all ranks tell in this round, in the order of the ranks.
fn exchange<S: Record, const N: usize>(data: &Domain<S, N>, news: &News) -> Result<Vec<News>> {
    let broken = |cause: &dyn std::fmt::Display| Error::new(Kind::Internal, format!("the news of a farm: {cause}"));
    let packed = rmp_serde::to_vec(news).map_err(|cause| broken(&cause))?;
    let all = data.comm().all_gather_bytes(&packed)?;
    all.iter().map(|bytes| rmp_serde::from_slice(bytes).map_err(|cause| broken(&cause))).collect()
}

/// Stores the outcome of a task, if its cell is this rank's.
fn keep<S: Record, const N: usize>(data: &mut Domain<S, N>, task: usize, stored: S) {
    let cell = data.grid().cell(task);
    if data.owner(cell) == data.comm().rank() {
        data.set(cell, stored);
    }
}

fn in_task(error: Error, task: usize) -> Error {
    Error::new(error.kind(), format!("task {task}: {}", error.message()))
}
