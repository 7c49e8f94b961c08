//! `PROGRAM plan`: what a case would need, before anything runs.

use std::ops::Add;
use std::path::PathBuf;
use std::process::ExitCode;

use rayon::prelude::*;
use serde::Serialize;

use super::program::Make;
use super::show;
use crate::config::{Case, Checksums, Source, Word};
use crate::error::Result;
use crate::field::Record;
use crate::grid::{Partition, Patches};
use crate::sim::{Layout, Needs, Program};
use crate::sys::cache::core_cache;

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
    /// The way that messages go, as in the case file.
    exchange: String,
    sweeps_per_exchange: usize,
    /// The cells along x and y of the tiles that rank 0's first patch is swept in, and the cache that their layers should stay
    /// in; none below three dimensions.
    tile: Option<[usize; 2]>,
    core_cache_bytes: usize,
    /// What a step moves to and from memory for each cell, if nothing stays in a cache from one sweep to the next.
    bytes_a_cell_a_step: Option<usize>,
    /// What it moves where the sweeps between two exchanges go through a core's cache together.
    together: Option<InCache>,
    patches_a_rank: [usize; 2],
    ranks: usize,
    threads: usize,
    spare_ranks: usize,
    blocks_a_rank: [usize; 2],
    cells_a_rank: [usize; 2],
    memory_bytes_a_rank: [u64; 2],
    memory_bytes: u64,
    staging_bytes_a_rank: [u64; 2],
    halo_bytes_a_rank: [u64; 2],
    halo_bytes: u64,
    messages_a_rank: [usize; 2],
    messages: usize,
    checkpoint_bytes: u64,
    /// What node-local checkpoints take on all nodes together at most, and where.
    local: Option<(u64, PathBuf)>,
    imbalance: f64,
}

/// What a step moves to and from memory if so many sweeps go through a core's cache together.
#[derive(Debug, Serialize)]
struct InCache {
    sweeps_per_exchange: usize,
    bytes_a_cell_a_step: f64,
}

/// The sweeps between two exchanges whose limit is told for a case that has one, if steps may go together.
const WORTH_A_TRY: usize = 4;

impl InCache {
    /// For the case's own number of sweeps; if that is 1, for another one that its blocks have room for.
    fn of<P: Program<N>, const N: usize>(case: &Case, layout: &Layout<N>, program: &P) -> Option<Self> {
        let Needs { reach, sweeps, .. } = program.needs();
        let traffic = program.traffic()?;
        let mut together = traffic.together?;
        // Checksums look after every step, so that each goes alone.
        together.steps &= case.guard.checksums == Checksums::None;
        let most = layout.tiling.shape().into_iter().min().map_or(0, |cells| cells / reach.max(1));
        let sweeps_per_exchange = match sweeps {
            1 if together.steps => WORTH_A_TRY.min(most),
            1 => together.sweeps.min(most),
            sweeps => sweeps,
        };
        if sweeps_per_exchange == 0 {
            return None;
        }
        let numbers = together.numbers(sweeps_per_exchange);
        let bytes_a_cell_a_step = numbers * (layout.components.len() * layout.scalar_bytes) as f64;
        (numbers < traffic.numbers as f64).then_some(InCache { sweeps_per_exchange, bytes_a_cell_a_step })
    }
}

/// Prints the plan of a case.
pub(super) fn run<P: Program<N>, const N: usize>(args: &Args, source: &Source, make: Make<P>) -> Result<ExitCode> {
    let (case, program) = make(source)?;
    program.check()?;
    let layout = Layout::<N>::new(&case, &program)?;
    let ranks = args.ranks as usize;
    let partition = layout.partition(ranks, None)?;
    let loads = (0..ranks).into_par_iter().map(|rank| Load::of(&layout, &partition, rank));
    let Sum { least, most, all } = loads.map(Sum::of_one).reduce_with(Sum::and).expect("there is a rank");
    let plan = Plan {
        title: case.title.clone(),
        cells: case.cells.clone(),
        block: layout.tiling.shape().to_vec(),
        blocks: layout.tiling.len(),
        ghosts: layout.width,
        components: layout.components.iter().map(|component| component.name.clone()).collect(),
        scalar: P::State::kind().name(),
        buffers: layout.buffers,
        exchange: case.run.exchange.word().to_owned(),
        sweeps_per_exchange: program.needs().sweeps,
        tile: Patches::new(&layout.tiling, &partition, 0).regions().first().and_then(|patch| {
            let (extent, most) = (patch.extent(), program.tile(patch.extent())?);
            // As equal as can be.
            let along = |a: usize| extent[a].div_ceil(extent[a].div_ceil(most[a].max(1)));
            (N > 2).then(|| [0, 1].map(along))
        }),
        core_cache_bytes: core_cache(),
        bytes_a_cell_a_step: program
            .traffic()
            .map(|traffic| traffic.numbers * layout.components.len() * layout.scalar_bytes),
        together: InCache::of(&case, &layout, &program),
        patches_a_rank: [least.patches, most.patches],
        ranks,
        threads: case.run.threads,
        spare_ranks: partition.spare_ranks().count(),
        blocks_a_rank: [least.blocks, most.blocks],
        cells_a_rank: [least.cells, most.cells],
        memory_bytes_a_rank: [least.memory, most.memory],
        staging_bytes_a_rank: [least.staging, most.staging],
        memory_bytes: all.memory,
        halo_bytes_a_rank: [least.halo, most.halo],
        halo_bytes: all.halo,
        messages_a_rank: [least.messages, most.messages],
        messages: all.messages,
        checkpoint_bytes: layout.checkpoint_bytes(),
        local: case.checkpoint.local.as_ref().map(|local| {
            // Each twice, and one more while it is being taken.
            (2 * (local.keep as u64 + 1) * layout.checkpoint_bytes(), local.directory.clone())
        }),
        imbalance: most.cells as f64 * ranks as f64 / all.cells as f64,
    };
    if args.json {
        show::json(&plan)?;
    } else {
        show::data(&describe(&plan))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// What one rank has to do and to hold.
#[derive(Debug, Clone, Copy)]
struct Load {
    blocks: usize,
    patches: usize,
    cells: usize,
    memory: u64,
    staging: u64,
    halo: u64,
    messages: usize,
}

impl Load {
    fn of<const N: usize>(layout: &Layout<N>, partition: &Partition, rank: usize) -> Self {
        let halo = layout.halo_of(partition, rank);
        Load {
            blocks: partition.range(rank).len(),
            patches: Patches::new(&layout.tiling, partition, rank).regions().len(),
            cells: partition.blocks(rank).map(|id| layout.tiling.region(id).volume()).sum(),
            memory: layout.bytes_of(partition, rank),
            staging: layout.staging_bytes_of(partition, rank),
            halo: halo.bytes,
            messages: halo.messages,
        }
    }

    fn with(self, other: Self, int: fn(usize, usize) -> usize, bytes: fn(u64, u64) -> u64) -> Self {
        Load {
            blocks: int(self.blocks, other.blocks),
            patches: int(self.patches, other.patches),
            cells: int(self.cells, other.cells),
            memory: bytes(self.memory, other.memory),
            staging: bytes(self.staging, other.staging),
            halo: bytes(self.halo, other.halo),
            messages: int(self.messages, other.messages),
        }
    }
}

/// The least and the most of some ranks' loads, and all of them together: what is kept of them, however many they are.
struct Sum {
    least: Load,
    most: Load,
    all: Load,
}

impl Sum {
    fn of_one(load: Load) -> Self {
        Sum { least: load, most: load, all: load }
    }

    fn and(self, other: Self) -> Self {
        Sum {
            least: self.least.with(other.least, usize::min, u64::min),
            most: self.most.with(other.most, usize::max, u64::max),
            all: self.all.with(other.all, usize::add, u64::add),
        }
    }
}

fn describe(plan: &Plan) -> String {
    let by = |extents: &[usize]| extents.iter().map(usize::to_string).collect::<Vec<_>>().join(" × ");
    let span = |[least, most]: [String; 2]| if least == most { least } else { format!("{least} to {most}") };
    let bytes = |range: [u64; 2]| span(range.map(show::bytes));
    let exchanges = match plan.sweeps_per_exchange {
        1 => "one for each sweep".to_owned(),
        sweeps => format!("one for {sweeps} sweeps"),
    };
    let mut rows = vec![
        ("case", plan.title.clone()),
        ("grid", format!("{} = {} cells", by(&plan.cells), plan.cells.iter().product::<usize>())),
        ("state", format!("{} of {}, {} copies", plan.components.join(", "), plan.scalar, plan.buffers)),
        ("blocks", format!("{} of {} cells, {} ghosts on every side", plan.blocks, by(&plan.block), plan.ghosts)),
        ("ranks", plan.ranks.to_string()),
        (
            "blocks a rank",
            format!(
                "{}, which lie together in {}",
                span(plan.blocks_a_rank.map(|n| n.to_string())),
                match plan.patches_a_rank {
                    [1, 1] => "one patch".into(),
                    patches => format!("{} patches", span(patches.map(|n| n.to_string()))),
                }
            ),
        ),
        ("cells a rank", span(plan.cells_a_rank.map(|n| n.to_string()))),
        ("imbalance", format!("{:.3} (largest load over mean load, if all cells cost the same)", plan.imbalance)),
        ("memory a rank", bytes(plan.memory_bytes_a_rank)),
        ("memory in all", show::bytes(plan.memory_bytes)),
        (
            "staging a rank",
            format!("{} besides, to write a checkpoint from while it computes", bytes(plan.staging_bytes_a_rank)),
        ),
        (
            "halo a rank",
            format!(
                "{} received in an exchange, in {} messages",
                bytes(plan.halo_bytes_a_rank),
                span(plan.messages_a_rank.map(|n| n.to_string()))
            ),
        ),
        ("checkpoint", show::bytes(plan.checkpoint_bytes)),
    ];
    rows.push(match plan.bytes_a_cell_a_step {
        Some(_) => ("exchange", format!("{exchanges}, by {}", plan.exchange)),
        None => ("exchange", format!("by {}", plan.exchange)),
    });
    if let Some(tile) = plan.tile {
        let cache = show::bytes(plan.core_cache_bytes as u64);
        rows.push((
            "tiles",
            format!("{} cells, whose layers should stay in a core's {cache} of cache here", by(&tile)),
        ));
    }
    let rate = |bytes: f64| format!("about {:.1} million steps of a cell a second for each GB/s", 1e3 / bytes);
    if let Some(bytes) = plan.bytes_a_cell_a_step {
        let rate = rate(bytes as f64);
        rows.push(("limit", format!("{bytes} bytes a cell in a step to and from memory, sweep by sweep: {rate}")));
    }
    if let Some(InCache { sweeps_per_exchange, bytes_a_cell_a_step }) = plan.together {
        let (sweeps, bytes, rate) = (sweeps_per_exchange, bytes_a_cell_a_step, rate(bytes_a_cell_a_step));
        let what = match plan.sweeps_per_exchange {
            1 => format!("with run.sweeps_per_exchange = {sweeps}"),
            _ => format!("for the {sweeps} sweeps of an exchange"),
        };
        rows.push((
            "in the cache",
            format!("{bytes:.0} bytes {what}, where they go through a core's cache together: {rate}"),
        ));
    }
    if let Some((bytes, directory)) = &plan.local {
        let bytes = show::bytes(*bytes);
        rows.push(("on the nodes", format!("at most {bytes} in all, in {}", directory.display())));
    }
    if plan.spare_ranks > 0 {
        rows.push(("note", format!("{} ranks own no block: there are fewer blocks than ranks", plan.spare_ranks)));
    }
    show::pairs(&rows)
}
