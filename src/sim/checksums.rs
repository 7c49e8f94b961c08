//! Notices bits that flip in the memory of the patches while no step computes with it.

use std::rc::Rc;

use crc_fast::{CrcAlgorithm, Digest};
use rayon::ThreadPool;
use rayon::prelude::*;

use crate::comm::Meter;
use crate::config::Guard;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Patch, Scalar};
use crate::rundir::Part;

/// The checksums of the patches of one rank, from the end of a step to the start of the next.
///
/// They are of all that a patch has memory for, ghosts included: nothing writes there between two steps, and one pass over
/// contiguous memory costs the least. Rejected: checksums of interiors alone, which go row by row and leave out ghosts that
/// several sweeps share. What flips while a step computes is out of reach here: memory that is being written has no checksum.
#[derive(Debug)]
pub(super) struct Checksums {
    /// After every so many steps they are taken; never, if there is no number.
    steps: Option<u64>,
    /// One a patch, kept from step to step, so that nothing is allocated.
    sums: Vec<u64>,
    /// The step that left the memory as the checksums have it, if they are of now.
    taken: Option<u64>,
    meter: Rc<Meter>,
}

impl Checksums {
    /// The checksums that a case asks for, of so many patches.
    pub fn new(guard: &Guard, patches: usize, meter: &Rc<Meter>) -> Self {
        let steps = guard.checksums.of_blocks().then_some(guard.steps);
        let sums = vec![0; if steps.is_some() { patches } else { 0 }];
        Checksums { steps, sums, taken: None, meter: Rc::clone(meter) }
    }

    /// Takes them after a step, if it is one of those after which they are due; what came before is forgotten.
    pub fn take<T: Scalar, const N: usize>(&mut self, pool: &ThreadPool, field: &Field<T, N>, step: u64) {
        self.taken = self.steps.is_some_and(|steps| step.is_multiple_of(steps)).then_some(step);
        if self.taken.is_some() {
            let _checking = self.meter.aside(Part::Checks);
            let patches = field.patches().par_iter();
            pool.install(|| self.sums.par_iter_mut().zip(patches).for_each(|(sum, patch)| *sum = of(patch)));
        }
    }

    /// Compares them with what the memory holds now; all is well where none were taken.
    ///
    /// # Errors
    /// On this rank alone, if a bit of a patch has flipped; it names the first such patch.
    pub fn compare<T: Scalar, const N: usize>(&self, pool: &ThreadPool, field: &Field<T, N>) -> Result<()> {
        let Some(step) = self.taken else { return Ok(()) };
        let _checking = self.meter.aside(Part::Checks);
        let (sums, patches) = (&self.sums, field.patches());
        let differs = |(sum, patch): (&u64, &Patch<T, N>)| *sum != of(patch);
        let changed = pool.install(|| sums.par_iter().zip(patches.par_iter()).position_first(differs));
        changed.map_or(Ok(()), |place| Err(explain(&patches[place], step)))
    }
}

fn of<T: Scalar, const N: usize>(patch: &Patch<T, N>) -> u64 {
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    digest.update(bytemuck::cast_slice(&patch.interior().lower));
    digest.update(bytemuck::cast_slice(patch.data()));
    digest.finalize()
}

fn explain<T: Scalar, const N: usize>(patch: &Patch<T, N>, step: u64) -> Error {
    let interior = patch.interior();
    let cells: Vec<String> =
        (0..N).map(|a| format!("{} {}..{}", ["x", "y", "z"][a], interior.lower[a], interior.upper[a])).collect();
    let cells = cells.join(", ");
    Error::new(
        Kind::Corruption,
        format!("the cells {cells} are not in memory as step {step} left it: its checksum does not fit"),
    )
    .in_step(step)
    .hint("a bit flipped in memory: go on from the newest checkpoint; if it happens again, leave out this rank's node")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Checksums as Choice;
    use crate::grid::{Grid, Partition, Tiling, Vector};

    fn pool(threads: usize) -> ThreadPool {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
    }

    /// The twelve patches of 7 × 5 cells, numbered.
    fn field() -> Field<f32, 2> {
        let grid = Grid::new([7, 5], Vector::ZERO, Vector([1.0; 2]), [true; 2]).unwrap();
        let tiling = Tiling::new(grid, [2, 2]).unwrap();
        let apart = Partition::by_cost(&[1.0; 12], 1).for_threads(12);
        let mut field = Field::new(&tiling, &apart, 0, 1, 2);
        for (i, number) in field.patches_mut().iter_mut().flat_map(|patch| patch.data_mut()).enumerate() {
            *number = i as f32;
        }
        field
    }

    fn checksums(choice: Choice, steps: u64) -> Checksums {
        Checksums::new(&Guard { checksums: choice, steps }, 12, &Rc::new(Meter::new()))
    }

    #[test]
    fn every_bit_that_flips_between_two_steps_is_noticed_with_its_block() {
        let (pool, mut field, mut checksums) = (pool(2), field(), checksums(Choice::All, 1));
        checksums.take(&pool, &field, 9);
        checksums.compare(&pool, &field).unwrap();
        for place in 0..12 {
            let cells = field.patches()[place].interior();
            for bit in 0..8 * size_of_val(field.patches()[place].data()) {
                let flip = |field: &mut Field<f32, 2>| {
                    bytemuck::cast_slice_mut::<f32, u8>(field.patches_mut()[place].data_mut())[bit / 8] ^=
                        1 << (bit % 8);
                };
                flip(&mut field);
                let error = checksums.compare(&pool, &field).unwrap_err();
                assert_eq!(error.kind(), Kind::Corruption);
                let patch = format!("the cells x {}..{}, y ", cells.lower[0], cells.upper[0]);
                assert!(error.to_string().contains(&patch) && error.to_string().contains("step 9"), "{error}");
                flip(&mut field);
            }
        }
        checksums.compare(&pool, &field).unwrap();
    }

    #[test]
    fn blocks_that_have_changed_places_are_noticed() {
        let (pool, mut field, mut checksums) = (pool(1), field(), checksums(Choice::Blocks, 1));
        field.patches_mut().iter_mut().for_each(|patch| patch.data_mut().fill(1.0));
        checksums.take(&pool, &field, 0);
        field.patches_mut().swap(0, 1);
        assert!(checksums.compare(&pool, &field).is_err());
    }

    #[test]
    fn a_flip_is_noticed_after_the_steps_that_the_case_names_and_after_no_other() {
        let (pool, mut field, mut checksums) = (pool(1), field(), checksums(Choice::Blocks, 3));
        let mut noticed = Vec::new();
        for step in 0..8 {
            checksums.take(&pool, &field, step);
            field.patches_mut()[5].data_mut()[3] += 1.0;
            noticed.extend(checksums.compare(&pool, &field).is_err().then_some(step));
        }
        assert_eq!(noticed, [0, 3, 6]);
    }

    #[test]
    fn without_the_guard_nothing_is_kept_and_nothing_noticed() {
        for choice in [Choice::None, Choice::Messages] {
            let (pool, mut field, mut checksums) = (pool(1), field(), checksums(choice, 1));
            checksums.take(&pool, &field, 0);
            field.patches_mut()[0].data_mut()[0] = -1.0;
            assert!(checksums.sums.is_empty() && checksums.compare(&pool, &field).is_ok());
        }
    }
}
