//! `PROGRAM plan`: what a case would need, before anything runs.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::Serialize;

use super::program::Make;
use super::show;
use crate::config::Source;
use crate::error::Result;
use crate::field::Record;
use crate::sim::{Layout, Program};

/// Print how a case would be decomposed, and what it needs; nothing runs, and no MPI is needed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The case file.
    #[arg(value_name = "CASE.toml")]
    case: PathBuf,

    /// The number of ranks.
    #[arg(short = 'n', long, value_name = "RANKS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1 << 20))]
    ranks: u32,

    /// Set a key of the case, as in --set grid.block=32; may be given several times.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,

    /// Print JSON for programs.
    #[arg(long)]
    json: bool,
}

impl Args {
    /// The case as written, with the keys that were set.
    pub(super) fn source(&self) -> Result<Source> {
        Source::read(&self.case)?.set(&self.set)
    }
}

/// What a case needs on some ranks.
#[derive(Debug, Serialize)]
struct Plan {
    title: String,
    cells: Vec<usize>,
    block: Vec<usize>,
    blocks: usize,
    ghosts: usize,
    components: Vec<String>,
    scalar: &'static str,
    buffers: usize,
    ranks: usize,
    threads: usize,
    spare_ranks: usize,
    blocks_a_rank: [usize; 2],
    cells_a_rank: [usize; 2],
    memory_bytes_a_rank: [u64; 2],
    memory_bytes: u64,
    staging_bytes_a_rank: [u64; 2],
    halo_bytes_a_rank: [u64; 2],
    checkpoint_bytes: u64,
    /// What node-local checkpoints take on all nodes together at most, and where.
    local: Option<(u64, PathBuf)>,
    imbalance: f64,
}

/// Prints the plan of a case.
pub(super) fn run<P: Program<N>, const N: usize>(args: &Args, source: &Source, make: Make<P>) -> Result<ExitCode> {
    let (case, program) = make(source)?;
    program.check()?;
    let layout = Layout::<N>::new(&case, &program)?;
    let ranks = args.ranks as usize;
    let partition = layout.partition(ranks, None)?;
    let cells: Vec<f64> = layout.tiling.ids().map(|id| layout.tiling.region(id).volume() as f64).collect();
    let cells_of = |rank: usize| partition.blocks(rank).map(|id| layout.tiling.region(id).volume()).sum::<usize>();
    let plan = Plan {
        title: case.title.clone(),
        cells: case.cells.clone(),
        block: layout.tiling.shape().to_vec(),
        blocks: layout.tiling.len(),
        ghosts: layout.width,
        components: layout.components.iter().map(|component| component.name.clone()).collect(),
        scalar: P::State::kind().name(),
        buffers: layout.buffers,
        ranks,
        threads: case.run.threads,
        spare_ranks: partition.spare_ranks().count(),
        blocks_a_rank: extremes(ranks, |rank| partition.range(rank).len()),
        cells_a_rank: extremes(ranks, cells_of),
        memory_bytes_a_rank: extremes(ranks, |rank| layout.bytes_of(&partition, rank)),
        staging_bytes_a_rank: extremes(ranks, |rank| layout.staging_bytes_of(&partition, rank)),
        memory_bytes: (0..ranks).map(|rank| layout.bytes_of(&partition, rank)).sum(),
        halo_bytes_a_rank: extremes(ranks, |rank| layout.halo_bytes_of(&partition, rank)),
        checkpoint_bytes: layout.checkpoint_bytes(),
        local: case.checkpoint.local.as_ref().map(|local| {
            // Each twice, and one more while it is being taken.
            (2 * (local.keep as u64 + 1) * layout.checkpoint_bytes(), local.directory.clone())
        }),
        imbalance: partition.imbalance(&cells),
    };
    if args.json {
        show::json(&plan)?;
    } else {
        show::data(&describe(&plan))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The smallest and the largest value over all ranks.
fn extremes<T: Copy + Ord>(ranks: usize, of: impl Fn(usize) -> T) -> [T; 2] {
    let first = of(0);
    (1..ranks).map(of).fold([first, first], |[least, most], value| [least.min(value), most.max(value)])
}

fn describe(plan: &Plan) -> String {
    let by = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let span = |[least, most]: [String; 2]| if least == most { least } else { format!("{least} to {most}") };
    let bytes = |range: [u64; 2]| span(range.map(show::bytes));
    let mut rows = vec![
        ("case", plan.title.clone()),
        ("grid", format!("{} = {} cells", by(&plan.cells), plan.cells.iter().product::<usize>())),
        ("state", format!("{} of {}, {} copies", plan.components.join(", "), plan.scalar, plan.buffers)),
        ("blocks", format!("{} of {} cells, {} ghosts on every side", plan.blocks, by(&plan.block), plan.ghosts)),
        ("ranks", plan.ranks.to_string()),
        ("blocks a rank", span(plan.blocks_a_rank.map(|n| n.to_string()))),
        ("cells a rank", span(plan.cells_a_rank.map(|n| n.to_string()))),
        ("imbalance", format!("{:.3} (largest load over mean load, if all cells cost the same)", plan.imbalance)),
        ("memory a rank", bytes(plan.memory_bytes_a_rank)),
        ("memory in all", show::bytes(plan.memory_bytes)),
        (
            "staging a rank",
            format!("{} besides, to write a checkpoint from while it computes", bytes(plan.staging_bytes_a_rank)),
        ),
        ("halo a rank", format!("{} received in an exchange", bytes(plan.halo_bytes_a_rank))),
        ("checkpoint", show::bytes(plan.checkpoint_bytes)),
    ];
    if let Some((bytes, directory)) = &plan.local {
        let bytes = show::bytes(*bytes);
        rows.push(("on the nodes", format!("at most {bytes} in all, in {}", directory.display())));
    }
    if plan.spare_ranks > 0 {
        rows.push(("note", format!("{} ranks own no block: there are fewer blocks than ranks", plan.spare_ranks)));
    }
    show::pairs(&rows)
}
