//! A proof that an exchange is right on the machine at hand: cells that hold their own coordinates.
//!
//! A wrong ghost then tells where its value came from. Neighbourhood collectives have been wrong in released versions of
//! MPI without any error, so this is worth the moment that it takes at the start of a run.

use super::{Backend, Exchange, Plan};
use crate::comm::Communicator;
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Patch, Scalar};
use crate::grid::{Cell, Grid, Partition, Tiling, Vector};

/// How often cells are exchanged in a check.
const ROUNDS: u64 = 2;

/// Exchanges cells that hold their own coordinates and looks at every ghost.
///
/// It does so twice, with other numbers: messages within a node lie in two slots in turn, and what one of them still holds must
/// not pass for what came. What the field held is lost; it costs about as much as two steps.
///
/// # Collective
///
/// # Errors
/// On all ranks, if a ghost on any rank does not hold what its cell holds; the message names both.
pub fn check_exchange<T: Scalar, const N: usize>(
    communicator: &Communicator,
    tiling: &Tiling<N>,
    exchange: &mut Exchange<T, N>,
    field: &mut Field<T, N>,
) -> Result<()> {
    for round in 0..ROUNDS {
        let code = Code::new(tiling.grid(), field.components(), round);
        for patch in field.patches_mut() {
            code.write(patch);
        }
        communicator.vote(exchange.start(field))?;
        communicator.vote(exchange.finish(field))?;
        communicator.vote(exchange.take_fault().map_or(Ok(()), Err))?;
        let width = exchange.plan().width();
        communicator.vote(field.patches().iter().try_for_each(|patch| code.verify(patch, width)))?;
    }
    Ok(())
}

/// Checks a back end between all ranks: in one to three dimensions, with every mix of periodic axes, on small grids whose
/// blocks differ in size and of which some ranks may own none.
///
/// # Collective
///
/// # Errors
/// On all ranks, if any ghost on any rank is wrong.
pub fn check_backend(communicator: &Communicator, backend: Backend) -> Result<()> {
    check_mixes::<1>(communicator, backend, [37], [4])?;
    check_mixes::<2>(communicator, backend, [13, 10], [4, 3])?;
    check_mixes::<3>(communicator, backend, [7, 6, 5], [3, 2, 3])
}

fn check_mixes<const N: usize>(
    communicator: &Communicator,
    backend: Backend,
    cells: [usize; N],
    shape: [usize; N],
) -> Result<()> {
    for mix in 0..1 << N {
        let periodic = std::array::from_fn(|a| mix >> a & 1 == 1);
        let tiling = Tiling::new(Grid::new(cells, Vector::ZERO, Vector([1.0; N]), periodic)?, shape)?;
        // Of the patches that a rank's blocks could form, some lie side by side.
        let partition = Partition::by_cost(&vec![1.0; tiling.len()], communicator.size()).for_threads(2);
        let plan = Plan::new(&tiling, &partition, communicator.rank(), 2);
        let mut field = Field::<f64, N>::new(&tiling, &partition, communicator.rank(), 2, 1);
        let mut exchange = Exchange::new(communicator, plan, 1, backend)?;
        check_exchange(communicator, &tiling, &mut exchange, &mut field)?;
    }
    Ok(())
}

/// The number that a component of a cell holds during a check.
struct Code<const N: usize> {
    cells: [usize; N],
    periodic: [bool; N],
    components: usize,
    /// In another round each cell holds another number.
    round: u64,
}

impl<const N: usize> Code<N> {
    fn new(grid: &Grid<N>, components: usize, round: u64) -> Self {
        Code { cells: grid.cells(), periodic: grid.periodic(), components, round }
    }

    /// The place of the number in the whole domain, as far as the type can say it: a prime number of codes keeps cells that
    /// are near to each other apart.
    fn of<T: Scalar>(&self, cell: Cell<N>, component: usize) -> T {
        let place = (0..N).rev().fold(0, |place, a| place * self.cells[a] as u64 + cell.0[a] as u64);
        let code = place * self.components as u64 + component as u64 + self.round;
        T::from_f64((code % Self::codes::<T>()) as f64)
    }

    /// What ghosts hold before: no code.
    fn unset<T: Scalar>() -> T {
        T::from_f64(Self::codes::<T>() as f64)
    }

    /// The place that a number is of.
    fn place<T: Scalar>(&self, code: T) -> f64 {
        (code.to_f64() - self.round as f64).rem_euclid(Self::codes::<T>() as f64)
    }

    fn codes<T: Scalar>() -> u64 {
        match size_of::<T>() {
            1 => 251,
            4 => 16_777_213,
            _ => (1 << 53) - 111,
        }
    }

    fn write<T: Scalar>(&self, patch: &mut Patch<T, N>) {
        let plane = patch.plane();
        patch.data_mut().fill(Self::unset());
        let interior = patch.interior();
        for cell in interior.cells() {
            let at = patch.position(cell);
            for component in 0..self.components {
                patch.data_mut()[at + component * plane] = self.of(cell, component);
            }
        }
    }

    fn verify<T: Scalar>(&self, patch: &Patch<T, N>, width: usize) -> Result<()> {
        let around = patch.interior().grow(width as i64);
        for cell in around.cells().filter(|&cell| !patch.interior().contains(cell)) {
            let inside = (0..N).all(|a| self.periodic[a] || (0..self.cells[a] as i64).contains(&cell.0[a]));
            let source = Cell(std::array::from_fn(|a| cell.0[a].rem_euclid(self.cells[a] as i64)));
            let at = patch.position(cell);
            for component in 0..self.components {
                let expected = if inside { self.of(source, component) } else { Self::unset() };
                let found = patch.data()[at + component * patch.plane()];
                if found != expected {
                    return Err(self.wrong(patch, cell, expected, found));
                }
            }
        }
        Ok(())
    }

    fn wrong<T: Scalar>(&self, patch: &Patch<T, N>, cell: Cell<N>, expected: T, found: T) -> Error {
        let what = if found == Self::unset() {
            "nothing".to_owned()
        } else {
            format!("what belongs to number {} of the domain", self.place(found))
        };
        Error::new(
            Kind::Mpi,
            format!(
                "the halo exchange is wrong: ghost {:?} of the patch from {:?} on got {what} instead of number {}",
                cell.0,
                patch.interior().lower,
                self.place(expected)
            ),
        )
        .hint("choose the other run.exchange (neighbourhood or point_to_point), and see `steadfast doctor`")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::halo::exchange::copy_within_rank;

    /// A domain of two blocks on one rank, each a patch, after an exchange.
    fn exchanged<T: Scalar>(periodic: bool, round: u64) -> (Code<2>, Field<T, 2>) {
        let grid = Grid::new([6, 4], Vector::ZERO, Vector([1.0; 2]), [periodic, false]).unwrap();
        let tiling = Tiling::new(grid, [3, 4]).unwrap();
        let partition = Partition::by_cost(&[1.0; 2], 1).for_threads(2);
        let mut field = Field::new(&tiling, &partition, 0, 1, 2);
        let code = Code::new(&grid, 2, round);
        field.patches_mut().iter_mut().for_each(|patch| code.write(patch));
        copy_within_rank(&Plan::new(&tiling, &partition, 0, 1), field.patches_mut());
        (code, field)
    }

    fn verify_any_type<T: Scalar>() {
        for (periodic, round) in [(false, 0), (true, 0), (false, 1), (true, 1)] {
            let (code, mut field) = exchanged::<T>(periodic, round);
            assert_eq!(code.verify(&field.patches()[0], 1), Ok(()));
            let patch = &mut field.patches_mut()[0];
            let at = patch.position(Cell([3, 2]));
            patch.data_mut()[at] = code.of(Cell([4, 2]), 0);
            let error = code.verify(patch, 1).unwrap_err().to_string();
            assert!(
                error.contains("ghost [3, 2] of the patch from [0, 0] on got what belongs to number 32"),
                "{error}"
            );
            patch.data_mut()[at] = Code::<2>::unset();
            assert!(code.verify(patch, 1).unwrap_err().to_string().contains("got nothing instead of number 30"));
        }
    }

    #[test]
    fn a_wrong_or_missing_ghost_tells_where_its_value_came_from() {
        verify_any_type::<f64>();
        verify_any_type::<f32>();
        verify_any_type::<i64>();
        verify_any_type::<i32>();
        verify_any_type::<u8>();
    }

    #[test]
    fn a_ghost_beyond_the_domain_must_stay_as_it_was() {
        let (code, mut field) = exchanged::<f64>(false, 0);
        let patch = &mut field.patches_mut()[0];
        let at = patch.position(Cell([-1, 0]));
        patch.data_mut()[at] = 5.0;
        assert!(code.verify(patch, 1).is_err());
    }

    #[test]
    fn what_the_round_before_has_left_does_not_pass() {
        let (code, field) = exchanged::<f64>(true, 0);
        let next = Code { round: 1, ..code };
        let error = next.verify(&field.patches()[0], 1).unwrap_err().to_string();
        assert!(error.contains("got what belongs to number"), "{error}");
    }
}
