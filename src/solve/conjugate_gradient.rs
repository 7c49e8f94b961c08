//! The method of conjugate gradients.

use serde::{Deserialize, Serialize};

use super::rows::{add_product, update};
use super::{Operator, Preconditioner};
use crate::comm::{Communicator, ExactSum};
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Patch, sweep_beside};
use crate::grid::{Grid, Partition, Parts, Region, Tiling};
use crate::halo::{Backend, Exchange, Plan};

/// So many cells of the six vectors of an iteration stay in a core's cache from one pass over them to the next.
const IN_CACHE: usize = 1 << 14;

/// When a solver has done enough, and with which help.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The residual ‖b − A x‖ at which the solution is good, as a part of ‖b‖; both norms are Euclidean.
    pub tolerance: f64,
    /// The most iterations; a solution that takes more is an error.
    pub most_iterations: u64,
    /// The preconditioner.
    #[serde(default)]
    pub preconditioner: Preconditioner,
}

/// How a system was solved.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Solution {
    /// The number of iterations: of applications of the operator after the first.
    pub iterations: u64,
    /// The residual that was reached, as a part of ‖b‖: the one that the iteration carries along, not computed anew.
    pub residual: f64,
}

/// A solver with its vectors and messages, for any number of systems on the same blocks.
#[derive(Debug)]
pub struct ConjugateGradient<const N: usize> {
    settings: Settings,
    grid: Grid<N>,
    exchange: Exchange<f64, N>,
    /// p.
    direction: Field<f64, N>,
    /// r.
    residual: Field<f64, N>,
    /// A p; between the update of r and the next p it holds z = M⁻¹ r.
    image: Field<f64, N>,
    /// M⁻¹, if M is not 1.
    inverse: Option<Field<f64, N>>,
}

impl<const N: usize> ConjugateGradient<N> {
    /// A solver for the blocks of a rank; `width` is how many ghosts the coefficients have on every side, at least the
    /// operator's reach.
    ///
    /// # Collective
    /// Also for ranks without blocks.
    ///
    /// # Errors
    /// On all ranks, if the tolerance is not above 0 and below 1, or the messages are too large for MPI; if MPI fails.
    pub fn new(
        communicator: &Communicator,
        tiling: &Tiling<N>,
        partition: &Partition,
        width: usize,
        backend: Backend,
        settings: Settings,
    ) -> Result<Self> {
        let tolerance = settings.tolerance;
        if !(tolerance > 0.0 && tolerance < 1.0) {
            return Err(Error::case(format!("a solver's tolerance is {tolerance}; it must be above 0 and below 1"))
                .hint("the residual falls below the tolerance times the norm of b; try 1e-10"));
        }
        let rank = communicator.rank();
        let exchange = Exchange::new(communicator, Plan::new(tiling, partition, rank, width), 1, backend)?;
        let vector = Field::new(tiling, partition, rank, width, 1);
        Ok(ConjugateGradient {
            settings,
            grid: *tiling.grid(),
            exchange,
            inverse: (settings.preconditioner == Preconditioner::Jacobi).then(|| vector.clone()),
            residual: vector.clone(),
            image: vector.clone(),
            direction: vector,
        })
    }

    /// Solves A x = b; `x` holds a guess before, and the solution after.
    ///
    /// `watch` hears the number of iterations so far, and the residual as a part of ‖b‖, before each of them.
    ///
    /// The ghosts of the coefficients must have their values, up to the operator's reach; those of `b` and `x` are neither
    /// read nor written.
    ///
    /// # Collective
    /// Also for ranks without blocks.
    ///
    /// # Errors
    /// The same on all ranks: if A is not positive definite, or the residual is too large after the most iterations; then
    /// `x` is what was reached. If MPI fails.
    ///
    /// # Panics
    /// If the operator reads farther than the ghosts are deep, or a field is not of the solver's patches.
    pub fn solve<A: Operator<N>>(
        &mut self,
        communicator: &Communicator,
        operator: &A,
        coefficients: &Field<f64, N>,
        b: &Field<f64, N>,
        x: &mut Field<f64, N>,
        mut watch: impl FnMut(u64, f64),
    ) -> Result<Solution> {
        self.check_shapes([coefficients, b, x]);
        self.invert_diagonal(communicator, operator, coefficients)?;
        for (p, x) in self.direction.patches_mut().iter_mut().zip(x.patches()) {
            p.data_mut().fill(0.0);
            update(p, x, &x.interior(), |p, x| *p = x);
        }
        self.apply(operator, coefficients)?;
        let [bb, mut rr, mut rz] = reduce(self.begin(b), communicator)?;
        if bb == 0.0 {
            let numbers =
                |patch: &Patch<f64, N>| patch.interior_array(0).iter().fold(0.0, |most: f64, b| most.max(b.abs()));
            let mut largest = [b.patches().iter().map(numbers).fold(0.0, f64::max)];
            communicator.max_f64(&mut largest)?;
            if largest[0] > 0.0 {
                let what = format!("the largest number on the right-hand side is {:e}, whose square is 0", largest[0]);
                return Err(Error::new(Kind::State, what).hint("choose units in which it is nearer to 1"));
            }
            let pairs = x.patches_mut().iter_mut().zip(b.patches());
            pairs.for_each(|(x, b)| update(x, b, &b.interior(), |x, _| *x = 0.0));
            return Ok(Solution { iterations: 0, residual: 0.0 });
        }
        self.turn(0.0);
        let mut iterations = 0;
        loop {
            let residual = (rr / bb).sqrt();
            if residual <= self.settings.tolerance {
                return Ok(Solution { iterations, residual });
            }
            if !residual.is_finite() || iterations == self.settings.most_iterations {
                return Err(self.no_convergence(iterations, residual));
            }
            watch(iterations, residual);
            iterations += 1;
            let [curvature] = reduce([self.apply(operator, coefficients)?], communicator)?;
            if !(curvature > 0.0 && rz > 0.0) {
                return Err(not_positive(iterations, curvature, rz));
            }
            let before = rz;
            [rr, rz] = reduce(self.correct(rz / curvature, x), communicator)?;
            self.turn(rz / before);
        }
    }

    /// Sets the image to A p, and returns this rank's share of p·A p. Cells that wait for no message come first.
    fn apply<A: Operator<N>>(&mut self, operator: &A, coefficients: &Field<f64, N>) -> Result<ExactSum> {
        let mut sum = ExactSum::new();
        self.exchange.start(&mut self.direction)?;
        self.sweep(operator, coefficients, false, &mut sum);
        self.exchange.finish(&mut self.direction)?;
        self.sweep(operator, coefficients, true, &mut sum);
        Ok(sum)
    }

    /// Sweeps the operator over the cells that wait for messages, or over all others, and adds their p·A p while they are in
    /// the cache.
    fn sweep<A: Operator<N>>(&mut self, operator: &A, coefficients: &Field<f64, N>, waiting: bool, sum: &mut ExactSum) {
        let ConjugateGradient { grid, exchange, direction, image, .. } = self;
        let patches = direction.patches_mut().iter_mut().zip(coefficients.patches()).zip(image.patches_mut());
        for (place, ((p, k), image)) in patches.enumerate() {
            let interior = p.interior();
            let waits = exchange.waits(place);
            let core = if waits { interior.grow(-(A::REACH as i64)) } else { interior };
            let parts = if waiting { interior.without(&core) } else { Parts::one(core) };
            if waiting && !waits {
                continue;
            }
            operator.fill_outside(grid, p);
            for part in parts.flat_map(|part| part.slabs(IN_CACHE)) {
                sweep_beside(grid, p, k, image, &part, A::REACH, |u, k| operator.apply(u, k));
                add_product(sum, p, image, &part);
            }
        }
    }

    /// Sets r = b − A x, where the image is A x, and z = M⁻¹ r; returns this rank's shares of b·b, r·r and r·z.
    fn begin(&mut self, b: &Field<f64, N>) -> [ExactSum; 3] {
        let mut sums = [const { ExactSum::new() }; 3];
        let [bb, rr, rz] = &mut sums;
        let vectors = self.residual.patches_mut().iter_mut().zip(self.image.patches_mut());
        for (place, ((r, image), b)) in vectors.zip(b.patches()).enumerate() {
            let inverse = self.inverse.as_ref().map(|inverse| &inverse.patches()[place]);
            for part in b.interior().slabs(IN_CACHE) {
                add_product(bb, b, b, &part);
                update(r, b, &part, |r, b| *r = b);
                update(r, image, &part, |r, image| *r -= image);
                precondition(r, image, inverse, &part, [rr, rz]);
            }
        }
        sums
    }

    /// Sets x += α p, r −= α A p and z = M⁻¹ r; returns this rank's shares of r·r and r·z.
    fn correct(&mut self, alpha: f64, x: &mut Field<f64, N>) -> [ExactSum; 2] {
        let mut sums = [const { ExactSum::new() }; 2];
        let [rr, rz] = &mut sums;
        let vectors = self.residual.patches_mut().iter_mut().zip(self.image.patches_mut());
        for (place, ((r, image), x)) in vectors.zip(x.patches_mut()).enumerate() {
            let inverse = self.inverse.as_ref().map(|inverse| &inverse.patches()[place]);
            for part in x.interior().slabs(IN_CACHE) {
                update(x, &self.direction.patches()[place], &part, |x, p| *x += alpha * p);
                update(r, image, &part, |r, image| *r -= alpha * image);
                precondition(r, image, inverse, &part, [rr, rz]);
            }
        }
        sums
    }

    /// Sets p = z + β p.
    fn turn(&mut self, beta: f64) {
        let z = if self.inverse.is_some() { &self.image } else { &self.residual };
        for (p, z) in self.direction.patches_mut().iter_mut().zip(z.patches()) {
            update(p, z, &z.interior(), |p, z| *p = z + beta * *p);
        }
    }

    /// Prepares the preconditioner for an operator.
    fn invert_diagonal<A: Operator<N>>(
        &mut self,
        communicator: &Communicator,
        operator: &A,
        coefficients: &Field<f64, N>,
    ) -> Result<()> {
        let ConjugateGradient { grid, image, inverse: Some(inverse), .. } = self else { return Ok(()) };
        let mut least = [f64::INFINITY];
        for ((k, unused), inverse) in coefficients.patches().iter().zip(image.patches()).zip(inverse.patches_mut()) {
            let interior = inverse.interior();
            sweep_beside(grid, unused, k, inverse, &interior, A::REACH, |_, k| operator.diagonal(k));
            for row in inverse.rows(&interior) {
                for entry in &mut inverse.data_mut()[row] {
                    // NaN goes on to the minimum over the ranks, where it wins.
                    least[0] = if *entry >= least[0] { least[0] } else { *entry };
                    *entry = 1.0 / *entry;
                }
            }
        }
        communicator.min_f64(&mut least)?;
        if least[0] > 0.0 {
            return Ok(());
        }
        let [least] = least;
        Err(Error::new(
            Kind::State,
            format!("an operator is not positive definite: its diagonal has an entry {least:e}"),
        )
        .hint("every diagonal entry must be above 0; look for a coefficient that is negative or not finite"))
    }

    fn check_shapes(&self, [coefficients, b, x]: [&Field<f64, N>; 3]) {
        for field in [coefficients, b, x] {
            let patches = field.patches().iter().map(Patch::interior);
            let own = self.direction.patches().iter().map(Patch::interior);
            assert!(patches.eq(own), "a field of a system has other patches than the solver");
        }
        assert!(b.components() == 1 && x.components() == 1, "the two sides of a system have one number a cell");
    }

    fn no_convergence(&self, iterations: u64, residual: f64) -> Error {
        let Settings { tolerance, most_iterations, .. } = self.settings;
        let reached = format!("conjugate gradients came to a residual of {residual:e} in {iterations} iterations");
        if !residual.is_finite() {
            let hint = "look for a right-hand side, a guess or a coefficient that is not finite";
            return Error::new(Kind::State, reached).hint(hint);
        }
        Error::new(Kind::State, format!("{reached}; {tolerance:e} was asked for in at most {most_iterations}"))
            .hint("allow more iterations, ask for less, or take a shorter step")
    }
}

/// Sets z = M⁻¹ r in a part of a patch, if M is not 1, and adds to r·r and r·z.
fn precondition<const N: usize>(
    r: &Patch<f64, N>,
    z: &mut Patch<f64, N>,
    inverse: Option<&Patch<f64, N>>,
    part: &Region<N>,
    [rr, rz]: [&mut ExactSum; 2],
) {
    let mut of_r = ExactSum::new();
    add_product(&mut of_r, r, r, part);
    rr.merge(&of_r);
    match inverse {
        None => rz.merge(&of_r),
        Some(inverse) => {
            update(z, r, part, |z, r| *z = r);
            update(z, inverse, part, |z, inverse| *z *= inverse);
            add_product(rz, r, z, part);
        }
    }
}

/// The sums over all ranks, in one message.
fn reduce<const K: usize>(mut sums: [ExactSum; K], communicator: &Communicator) -> Result<[f64; K]> {
    ExactSum::reduce_all(&mut sums, communicator)?;
    Ok(sums.map(|sum| sum.value()))
}

fn not_positive(iterations: u64, curvature: f64, rz: f64) -> Error {
    Error::new(
        Kind::State,
        format!(
            "an operator or its preconditioner is not positive definite: p·A p = {curvature:e}, r·z = {rz:e} in iteration {iterations}"
        ),
    )
    .hint("both must be above 0; look for coefficients of the wrong sign, and for a stencil that is not symmetric")
}
