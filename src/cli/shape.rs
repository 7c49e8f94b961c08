//! How large a job is to be: nodes, ranks, processors and memory, from what is wished, what the case takes and what a node has.

use super::forecast::Forecast;
use super::show;
use crate::batch::Partition;
use crate::error::{Error, Result};

/// What MPI, HDF5 and the program itself take in each rank, in bytes; measured generously.
const MEMORY_OF_A_PROCESS: u64 = 200_000_000;

/// Slurm says so of nodes whose memory nobody has told it.
const UNTOLD_MEMORY: u64 = 1 << 20;

/// What the user has said of the size.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// The nodes that compute.
    pub nodes: usize,
    /// The ranks on each.
    pub tasks_a_node: Option<usize>,
    /// The processors of each rank.
    pub cpus_a_task: Option<usize>,
}

/// The size of a job, without its spare nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape {
    /// The nodes that compute.
    pub nodes: usize,
    /// The ranks on each.
    pub tasks_a_node: usize,
    /// The processors of each rank.
    pub cpus_a_task: usize,
    /// The memory on each node in bytes, if that is known.
    pub memory_a_node: Option<u64>,
    /// What the user should know of how it came to this.
    pub remarks: Vec<String>,
}

impl Shape {
    /// Fills in what is not wished for; `forecast` tells what the case takes on a number of ranks.
    ///
    /// # Errors
    ///
    /// A bad command, if a node has too little for what is asked, or if nobody says how many ranks a node takes; else as
    /// `forecast`.
    pub fn choose(
        wish: Wish,
        partition: Option<&Partition>,
        forecast: impl Fn(usize) -> Result<Option<Forecast>>,
    ) -> Result<Shape> {
        let asked = wish.nodes * wish.tasks_a_node.unwrap_or(1);
        let first = forecast(asked)?;
        let mut remarks = Vec::new();
        let cpus_a_task = wish.cpus_a_task.or(first.as_ref().map(|known| known.threads)).unwrap_or(1);
        let tasks_a_node = match (wish.tasks_a_node, partition) {
            (Some(tasks), _) => tasks,
            (None, Some(partition)) => {
                let most = tasks_on(partition, cpus_a_task)?;
                // More ranks than blocks would have nothing to do.
                first.as_ref().map_or(most, |known| most.min(known.blocks / wish.nodes).max(1))
            }
            (None, None) => {
                return Err(Error::case("nobody says how many ranks a node takes: Slurm is not here")
                    .hint("say it: --tasks-per-node K"));
            }
        };
        let ranks = wish.nodes * tasks_a_node;
        let known = if ranks == asked { first } else { forecast(ranks)? };
        let memory_a_node = match &known {
            Some(known) => {
                if known.blocks < ranks {
                    let (blocks, idle) = (known.blocks, ranks - known.blocks);
                    remarks.push(format!("the case has {blocks} blocks: {idle} of {ranks} ranks own none"));
                } else if wish.tasks_a_node.is_none() && known.blocks < 2 * ranks {
                    remarks.push(format!("the case has {} blocks for {ranks} ranks", known.blocks));
                }
                if known.threads != cpus_a_task {
                    let threads = known.threads;
                    let remark = format!("each rank has {cpus_a_task} processors and runs {threads} threads");
                    remarks.push(format!("{remark} (--set run.threads={cpus_a_task} uses what it has)"));
                }
                memory(known, tasks_a_node, partition)?
            }
            None => {
                remarks.push("the program does not say what its case takes: the job asks for no memory".to_owned());
                None
            }
        };
        Ok(Shape { nodes: wish.nodes, tasks_a_node, cpus_a_task, memory_a_node, remarks })
    }

    /// The ranks in all.
    pub fn ranks(&self) -> usize {
        self.nodes * self.tasks_a_node
    }
}

fn tasks_on(partition: &Partition, cpus_a_task: usize) -> Result<usize> {
    match partition.cpus_a_node / cpus_a_task {
        0 => Err(Error::case(format!(
            "a rank is to have {cpus_a_task} processors, and a node of the partition {} has {}",
            partition.name, partition.cpus_a_node
        ))
        .hint("ask for fewer (--cpus-per-task, or run.threads in the case), or for another --partition")),
        tasks => Ok(tasks),
    }
}

/// The memory to ask for on each node; none, if Slurm does not know what its nodes have.
fn memory(known: &Forecast, tasks: usize, partition: Option<&Partition>) -> Result<Option<u64>> {
    // A fifth more than was counted: halos, tables, what libraries keep.
    let a_rank = known.memory_a_rank() + known.memory_a_rank() / 5 + MEMORY_OF_A_PROCESS;
    let needed = tasks as u64 * a_rank;
    match partition {
        Some(partition) if partition.memory_a_node <= UNTOLD_MEMORY => Ok(None),
        Some(partition) if partition.memory_a_node < needed => Err(Error::case(format!(
            "{tasks} ranks take about {} on a node, and a node of the partition {} has {}",
            show::bytes(needed),
            partition.name,
            show::bytes(partition.memory_a_node)
        ))
        .hint("spread them over more nodes: a larger --nodes, a smaller --tasks-per-node")),
        _ => Ok(Some(needed)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WISH: Wish = Wish { nodes: 2, tasks_a_node: None, cpus_a_task: None };

    fn partition() -> Partition {
        Partition { name: "sim".into(), cpus_a_node: 8, memory_a_node: 4 << 30 }
    }

    /// A case of so many blocks, and of a gigabyte in all.
    fn case(blocks: usize, threads: usize) -> impl Fn(usize) -> Result<Option<Forecast>> {
        move |ranks| {
            let bytes = 1_000_000_000 / ranks as u64;
            let text = format!(
                r#"{{"blocks": {blocks}, "threads": {threads}, "memory_bytes_a_rank": [0, {bytes}],
                     "staging_bytes_a_rank": [0, 0], "checkpoint_bytes": 1}}"#
            );
            Ok(Some(serde_json::from_str(&text).unwrap()))
        }
    }

    fn nobody_knows(_: usize) -> Result<Option<Forecast>> {
        Ok(None)
    }

    #[test]
    fn a_node_takes_as_many_ranks_as_it_has_processors_for() {
        let shape = Shape::choose(WISH, Some(&partition()), case(1000, 1)).unwrap();
        assert_eq!((shape.tasks_a_node, shape.cpus_a_task, shape.ranks()), (8, 1, 16));
        assert_eq!(shape.memory_a_node, Some(8 * (62_500_000 + 12_500_000 + MEMORY_OF_A_PROCESS)));
        assert!(shape.remarks.is_empty(), "{shape:?}");
        let shape = Shape::choose(WISH, Some(&partition()), case(1000, 4)).unwrap();
        assert_eq!((shape.tasks_a_node, shape.cpus_a_task), (2, 4), "the threads of the case count");
        let error = Shape::choose(WISH, Some(&partition()), case(1000, 16)).unwrap_err();
        assert!(error.message().contains("is to have 16 processors, and a node of the partition sim has 8"), "{error}");
    }

    #[test]
    fn there_are_no_more_ranks_than_blocks_unless_they_are_asked_for() {
        let shape = Shape::choose(WISH, Some(&partition()), case(7, 1)).unwrap();
        assert_eq!((shape.tasks_a_node, shape.remarks.len()), (3, 1));
        let shape = Shape::choose(Wish { tasks_a_node: Some(8), ..WISH }, None, case(7, 1)).unwrap();
        assert_eq!(shape.remarks, ["the case has 7 blocks: 9 of 16 ranks own none"]);
    }

    #[test]
    fn what_does_not_fit_into_a_node_is_refused() {
        let small = Partition { memory_a_node: 1 << 30, ..partition() };
        let error = Shape::choose(WISH, Some(&small), case(1000, 1)).unwrap_err();
        assert!(error.exit_code() == 2 && error.message().contains("take about"), "{error}");
        let untold = Partition { memory_a_node: UNTOLD_MEMORY, ..partition() };
        assert_eq!(Shape::choose(WISH, Some(&untold), case(1000, 1)).unwrap().memory_a_node, None);
    }

    #[test]
    fn what_nobody_knows_is_not_asked_for() {
        let shape = Shape::choose(WISH, Some(&partition()), nobody_knows).unwrap();
        assert_eq!((shape.tasks_a_node, shape.memory_a_node, shape.remarks.len()), (8, None, 1));
        assert_eq!(Shape::choose(WISH, None, nobody_knows).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn threads_and_processors_that_differ_are_remarked_on() {
        let shape = Shape::choose(Wish { cpus_a_task: Some(4), ..WISH }, Some(&partition()), case(1000, 1)).unwrap();
        assert!(shape.remarks[0].contains("--set run.threads=4"), "{shape:?}");
    }
}
