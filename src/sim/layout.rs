//! How a case is laid out: blocks, ghosts, memory, and what can be known of a run before it runs.

use std::collections::BTreeSet;
use std::path::Path;

use crate::config::Case;
use crate::error::{Error, Kind, Result};
use crate::field::{Component, Record, plane_bytes};
use crate::grid::{Partition, Patches, Region, Tiling};

use super::program::{Needs, Program};

/// The most blocks that one rank is given: beyond it, measuring each costs more than computing its cells.
const MOST_BLOCKS_A_RANK: usize = 1 << 18;

/// The blocks of a case and their ghosts: a function of the case alone.
#[derive(Debug, Clone)]
pub struct Layout<const N: usize> {
    /// The grid cut into blocks.
    pub tiling: Tiling<N>,
    /// How many ghosts there are on every side of a patch.
    pub width: usize,
    /// The state's components.
    pub components: Vec<Component>,
    /// How many copies of the state there are in memory.
    pub buffers: usize,
    /// The bytes of one number.
    pub scalar_bytes: usize,
    /// The threads of a rank, which share its cells.
    pub threads: usize,
}

impl<const N: usize> Layout<N> {
    /// Lays out a case for a program.
    ///
    /// # Errors
    /// If the grid or the blocks cannot be, or the ghosts are wider than a block.
    pub fn new<P: Program<N>>(case: &Case, program: &P) -> Result<Self> {
        let grid = case.grid::<N>()?;
        let default = Tiling::default_shape(&grid);
        let tiling = Tiling::new(grid, case.block::<N>()?.unwrap_or(default))?;
        let needs = program.needs();
        let Needs { reach, buffers, .. } = needs;
        let width = needs.width();
        if let Some(a) = (0..N).find(|&a| width > tiling.shape()[a]) {
            let axis = ["x", "y", "z"][a];
            let sweeps = tiling.shape().into_iter().min().unwrap_or(1) / reach.max(1);
            let hint = if sweeps >= 1 {
                format!(
                    "use run.sweeps_per_exchange = {sweeps} or less, or blocks of at least {width} cells (default here: {default:?})"
                )
            } else {
                format!(
                    "use blocks of at least {width} cells (default here: {default:?}), and a grid at least as large"
                )
            };
            return Err(Error::case(format!(
                "ghosts {width} cells wide (the model's reach {reach} times run.sweeps_per_exchange = {}) do not fit blocks of {} cells along {axis}",
                needs.sweeps,
                tiling.shape()[a]
            ))
            .hint(hint));
        }
        Ok(Layout {
            tiling,
            width,
            components: P::components(),
            buffers,
            scalar_bytes: P::State::kind().size(),
            threads: case.run.threads,
        })
    }

    /// Which rank owns which block, by the blocks' measured costs or else by their cells.
    ///
    /// # Errors
    /// If a rank would get more blocks than it can manage.
    pub fn partition(&self, ranks: usize, costs: Option<&[f64]>) -> Result<Partition> {
        let grid = self.tiling.grid();
        let equal = (0..N).all(|a| grid.cells()[a].is_multiple_of(self.tiling.shape()[a]));
        let partition = match costs {
            Some(costs) => Partition::by_cost(costs, ranks),
            None if equal => Partition::even(self.tiling.len(), ranks),
            None => {
                let cells = self.tiling.ids().map(|id| self.tiling.region(id).volume() as f64);
                Partition::by_cost(&cells.collect::<Vec<_>>(), ranks)
            }
        }
        .for_threads(self.threads);
        let most = (0..ranks).map(|rank| partition.range(rank).len()).max().unwrap_or(0);
        if most > MOST_BLOCKS_A_RANK {
            return Err(Error::case(format!(
                "{} blocks of {:?} cells on {ranks} ranks give a rank {most} blocks; at most {MOST_BLOCKS_A_RANK} can be managed well",
                self.tiling.len(),
                self.tiling.shape()
            ))
            .hint(format!("use larger blocks; the default for this grid is {:?}", Tiling::default_shape(grid))));
        }
        Ok(partition)
    }

    /// The bytes of all buffers of a rank's patches, ghosts included.
    pub fn bytes_of(&self, partition: &Partition, rank: usize) -> u64 {
        let patches = Patches::new(&self.tiling, partition, rank);
        let bytes = |patch: &Region<N>| plane_bytes(&patch.grow(self.width as i64), self.scalar_bytes) as u64;
        let plane: u64 = patches.regions().iter().map(bytes).sum();
        plane * (self.buffers * self.components.len()) as u64
    }

    /// What a rank receives from others in one exchange.
    pub fn halo_of(&self, partition: &Partition, rank: usize) -> Halo {
        let own = partition.range(rank);
        let (mut cells, mut ranks) = (0, BTreeSet::new());
        for patch in Patches::new(&self.tiling, partition, rank).regions() {
            let pieces = self.tiling.ghost_pieces(patch, self.width).into_iter();
            for piece in pieces.filter(|piece| !own.contains(&piece.source.index())) {
                cells += piece.region.volume() as u64;
                ranks.insert(partition.owner(piece.source));
            }
        }
        Halo { messages: ranks.len(), bytes: cells * (self.components.len() * self.scalar_bytes) as u64 }
    }

    /// The bytes of the fields in a checkpoint: blocks at the upper boundaries are stored whole.
    pub fn checkpoint_bytes(&self) -> u64 {
        self.tiling.len() as u64 * self.stored_bytes_of_block()
    }

    /// The bytes of the copy that a rank takes for a checkpoint, and keeps for the next: it computes on while that is written.
    pub fn staging_bytes_of(&self, partition: &Partition, rank: usize) -> u64 {
        partition.blocks(rank).count() as u64 * self.stored_bytes_of_block()
    }

    fn stored_bytes_of_block(&self) -> u64 {
        let cells: usize = self.tiling.shape().into_iter().product();
        (cells * self.components.len() * self.scalar_bytes) as u64
    }

    /// Refuses a run whose fields and their copy for a checkpoint cannot fit the memory that is free on this node.
    ///
    /// # Errors
    /// If all ranks of the node together need more than is available: a bad case if the node does not have that much, else
    /// a shortage that may pass.
    pub fn check_memory(&self, needed_on_node: u64, memory: Option<Memory>) -> Result<()> {
        let Some(Memory { available, total }) = memory.filter(|memory| needed_on_node > memory.available) else {
            return Ok(());
        };
        let kind = if needed_on_node > total { Kind::Case } else { Kind::Io };
        Err(Error::new(
            kind,
            format!(
                "the fields of a grid of {:?} cells in blocks of {:?} with {} ghosts, and their copy for a checkpoint, need {} on this node, of whose {} are {} free",
                self.tiling.grid().cells(),
                self.tiling.shape(),
                self.width,
                gibibytes(needed_on_node),
                gibibytes(total),
                gibibytes(available)
            ),
        )
        .hint("use more nodes, a coarser grid or larger blocks; `plan` tells the memory of any choice"))
    }
}

/// What travels to a rank in one exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Halo {
    /// The messages, one from each rank that has a neighbour of one of its blocks.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// The memory of this node, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// What processes can still get.
    pub available: u64,
    /// What there is.
    pub total: u64,
}

impl Memory {
    /// What Linux tells of it; nothing on other systems.
    pub fn of_this_node() -> Option<Self> {
        let text = std::fs::read_to_string("/proc/meminfo").ok()?;
        let bytes = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
        };
        Some(Memory { available: bytes("MemAvailable:")?, total: bytes("MemTotal:")? })
    }

    /// Whether so many bytes can be taken for a moment, and no more than half of what is left to this process within the
    /// limits of its control groups, such as a job's; what files in the cache take counts as taken.
    pub fn spares(&self, bytes: u64) -> bool {
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let left = left_in(&groups, Path::new("/sys/fs/cgroup")).unwrap_or(u64::MAX);
        left.min(self.available) / 2 > bytes
    }
}

/// The bytes that control groups leave, by the lines of `/proc/self/cgroup` and the files below `root`; the narrowest limit
/// of a group and those above it counts, and none may be set.
fn left_in(groups: &str, root: &Path) -> Option<u64> {
    let left = groups.lines().filter_map(|line| {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (root, limit, taken) = match controllers {
            "" => (root.to_owned(), "memory.max", "memory.current"),
            _ => (root.join("memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
        };
        let left_in = |folder: &Path| {
            let read = |name| std::fs::read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
            Some(read(limit)?.saturating_sub(read(taken)?))
        };
        let folder = root.join(group.trim_start_matches('/'));
        folder.ancestors().take_while(|folder| folder.starts_with(&root)).filter_map(left_in).min()
    });
    left.min()
}

fn gibibytes(bytes: u64) -> String {
    format!("{:.2} GiB", bytes as f64 / (1u64 << 30) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_limit_of_a_group_and_those_above_it_counts() {
        let root = tempfile::tempdir().unwrap();
        let set = |folder: &str, name: &str, text: &str| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        let left = |groups: &str| left_in(groups, root.path());
        assert_eq!(left("0::/job/step\n"), None, "no files, no limits");
        for (folder, max, current) in [("job", "5000\n", "1000\n"), ("job/step", "max\n", "900\n")] {
            set(folder, "memory.max", max);
            set(folder, "memory.current", current);
        }
        assert_eq!(left("0::/job/step\n"), Some(4000), "the step has no limit of its own");
        set("job/step", "memory.max", "950\n");
        assert_eq!(left("0::/job/step\n"), Some(50));
        set("memory/old", "memory.limit_in_bytes", "700\n");
        set("memory/old", "memory.usage_in_bytes", "690\n");
        assert_eq!(left("4:memory:/old\n3:cpu:/elsewhere\n0::/job\n"), Some(10), "both versions of groups are heeded");
    }
}
