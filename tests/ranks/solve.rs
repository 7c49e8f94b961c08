//! Conjugate gradients between real ranks.

use std::f64::consts::PI;

use steadfast::comm::Communicator;
use steadfast::field::{Component, Field, Patch, Stencil};
use steadfast::grid::{Axis, Boundaries, Boundary, Cell, Grid, Partition, Tiling, Vector, random};
use steadfast::halo::{Backend, Exchange, Plan, fill_boundaries};
use steadfast::solve::{ConjugateGradient, Operator, Preconditioner, Settings, Solution};

use super::Check;

pub const CHECKS: &[Check] = &[
    ("an_eigenvector_is_found_in_one_iteration", an_eigenvector_is_found_in_one_iteration),
    ("as_many_iterations_as_eigenvalues_suffice", as_many_iterations_as_eigenvalues_suffice),
    ("a_solution_has_the_same_bits_on_any_blocks", a_solution_has_the_same_bits_on_any_blocks),
    ("the_diagonal_undoes_bad_scaling", the_diagonal_undoes_bad_scaling),
    ("a_guess_that_is_right_takes_no_iteration", a_guess_that_is_right_takes_no_iteration),
    ("an_operator_that_is_not_positive_is_refused", an_operator_that_is_not_positive_is_refused),
    ("no_convergence_is_an_error_with_its_numbers", no_convergence_is_an_error_with_its_numbers),
    ("a_solve_allocates_nothing", a_solve_allocates_nothing),
];

/// (shift − ∇²) u with u = 0 on the outer faces.
struct Helmholtz {
    shift: f64,
}

impl<const N: usize> Operator<N> for Helmholtz {
    type Coefficients = ();

    fn apply(&self, u: Stencil<'_, f64, N>, _: Stencil<'_, (), N>) -> f64 {
        let curvature = |a: Axis<N>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * u.spacing(a).powi(-2);
        self.shift * u.here() - Axis::all().map(curvature).sum::<f64>()
    }

    fn diagonal(&self, k: Stencil<'_, (), N>) -> f64 {
        self.shift + Axis::<N>::all().map(|a| 2.0 * k.spacing(a).powi(-2)).sum::<f64>()
    }

    fn fill_outside(&self, grid: &Grid<N>, u: &mut Patch<f64, N>) {
        let zero = Boundaries::all(Boundary::FixedValue(vec![0.0]));
        fill_boundaries(&zero, grid, &[Component::scalar("u", "1")], u, 1);
    }
}

/// Conduction between cells of random conductivity, with nothing through the outer faces.
struct Conduction;

impl<const N: usize> Operator<N> for Conduction {
    type Coefficients = f64;

    fn apply(&self, u: Stencil<'_, f64, N>, k: Stencil<'_, f64, N>) -> f64 {
        let flow = |a: Axis<N>| face(k, a, -1) * (u.here() - u.at(-a)) + face(k, a, 1) * (u.here() - u.at(a));
        1e-3 * k.here() * u.here() + Axis::all().map(flow).sum::<f64>()
    }

    fn diagonal(&self, k: Stencil<'_, f64, N>) -> f64 {
        1e-3 * k.here() + Axis::all().map(|a| face(k, a, -1) + face(k, a, 1)).sum::<f64>()
    }
}

/// The harmonic mean at a face; beyond the domain the conductivity is 0, and so is the mean.
fn face<const N: usize>(k: Stencil<'_, f64, N>, a: Axis<N>, side: isize) -> f64 {
    let (here, there) = (k.here(), k.at(side * a));
    2.0 * here * there / (here + there)
}

/// A grid in blocks, shared out over the ranks.
struct Room<'a, const N: usize> {
    world: &'a Communicator,
    tiling: Tiling<N>,
    partition: Partition,
}

impl<'a, const N: usize> Room<'a, N> {
    fn new(world: &'a Communicator, cells: [usize; N], shape: [usize; N], periodic: bool) -> Self {
        let grid = Grid::new(cells, Vector::ZERO, Vector([1.0; N]), [periodic; N]).unwrap();
        let tiling = Tiling::new(grid, shape).unwrap();
        let partition = Partition::by_cost(&vec![1.0; tiling.len()], world.size());
        Room { world, tiling, partition }
    }

    fn field(&self, components: usize, value: impl Fn(Cell<N>) -> f64) -> Field<f64, N> {
        let mut field = Field::new(&self.tiling, &self.partition, self.world.rank(), 1, components);
        for block in field.patches_mut().iter_mut().filter(|_| components > 0) {
            block.interior().cells().for_each(|cell| block.set(cell, value(cell)));
        }
        field
    }

    fn exchanged(&self, mut field: Field<f64, N>) -> Field<f64, N> {
        let plan = Plan::new(&self.tiling, &self.partition, self.world.rank(), 1);
        let mut exchange = Exchange::new(self.world, plan, 1, Backend::PointToPoint).unwrap();
        exchange.start(&mut field).unwrap();
        exchange.finish(&mut field).unwrap();
        field
    }

    fn solver(&self, settings: Settings) -> ConjugateGradient<N> {
        ConjugateGradient::new(self.world, &self.tiling, &self.partition, 1, Backend::default(), settings).unwrap()
    }

    /// The largest difference between a field and what it should be, over all ranks.
    fn difference(&self, field: &Field<f64, N>, expected: impl Fn(Cell<N>) -> f64) -> f64 {
        let cells = field.patches().iter().flat_map(|block| block.interior().cells().map(move |cell| (block, cell)));
        let errors = cells.map(|(block, cell)| (block.get::<f64>(cell) - expected(cell)).abs());
        let mut most = [errors.fold(0.0, f64::max)];
        self.world.max_f64(&mut most).unwrap();
        most[0]
    }
}

const SETTINGS: Settings = Settings { tolerance: 1e-12, most_iterations: 500, preconditioner: Preconditioner::None };

/// A mode of the Laplacian on n cells with u = 0 at both ends, and its eigenvalue.
fn mode(n: usize, wave: usize) -> (impl Fn(i64) -> f64 + Copy, f64) {
    let (n, wave) = (n as f64, wave as f64);
    (move |i| (PI * wave * (i as f64 + 0.5) / n).sin(), -(2.0 * n * (PI * wave / (2.0 * n)).sin()).powi(2))
}

fn an_eigenvector_is_found_in_one_iteration(world: &Communicator) {
    for (preconditioner, shape) in [(Preconditioner::None, [5, 4]), (Preconditioner::Jacobi, [24, 3])] {
        let room = Room::new(world, [24, 18], shape, false);
        let ((of_x, minus_x), (of_y, minus_y)) = (mode(24, 2), mode(18, 3));
        let exact = |cell: Cell<2>| of_x(cell.0[0]) * of_y(cell.0[1]);
        let eigenvalue = 7.0 - minus_x - minus_y;
        let (none, b, mut x) =
            (room.field(0, exact), room.field(1, |cell| eigenvalue * exact(cell)), room.field(1, |_| 0.0));
        let settings = Settings { preconditioner, ..SETTINGS };
        let solution =
            room.solver(settings).solve(world, &Helmholtz { shift: 7.0 }, &none, &b, &mut x, |_, _| ()).unwrap();
        assert!(solution.iterations == 1 && solution.residual <= 1e-12, "{solution:?}");
        assert!(room.difference(&x, exact) < 1e-13);
    }
}

fn as_many_iterations_as_eigenvalues_suffice(world: &Communicator) {
    let room = Room::new(world, [30], [4], false);
    let modes = [1, 4, 9].map(|wave| mode(30, wave));
    let exact = |cell: Cell<1>| modes.iter().map(|(shape, _)| shape(cell.0[0])).sum::<f64>();
    let image = |cell: Cell<1>| modes.iter().map(|(shape, minus)| -minus * shape(cell.0[0])).sum::<f64>();
    let (none, b, mut x) = (room.field(0, exact), room.field(1, image), room.field(1, |_| 0.0));
    // Rounding brings in the other modes, at a level that is far below this tolerance.
    let settings = Settings { tolerance: 1e-10, ..SETTINGS };
    let solution = room.solver(settings).solve(world, &Helmholtz { shift: 0.0 }, &none, &b, &mut x, |_, _| ()).unwrap();
    assert_eq!(solution.iterations, 3, "{solution:?}");
    assert!(room.difference(&x, exact) < 1e-10);
}

/// Conductivities over some orders of magnitude, and a right-hand side without order.
///
/// The grids are small: with more ranks than cores, MPICH takes milliseconds for each reduction of each iteration.
fn solve_conduction<const N: usize>(
    world: &Communicator,
    [cells, shape]: [[usize; N]; 2],
    orders: f64,
    preconditioner: Preconditioner,
) -> (Solution, u64) {
    let room = Room::new(world, cells, shape, false);
    let k = room.exchanged(room.field(1, |cell| 10f64.powf(orders * (random::uniform(1, cell) - 0.5))));
    let b = room.field(1, |cell| random::uniform(2, cell) - 0.3);
    let mut x = room.field(1, |cell| random::uniform(3, cell));
    let settings = Settings { tolerance: 1e-10, most_iterations: 5000, preconditioner };
    let solution = room.solver(settings).solve(world, &Conduction, &k, &b, &mut x, |_, _| ()).unwrap();
    let mut hash = [x.fingerprint(&room.tiling)];
    world.sum_u64_wrapping(&mut hash).unwrap();
    (solution, hash[0])
}

fn a_solution_has_the_same_bits_on_any_blocks(world: &Communicator) {
    for preconditioner in [Preconditioner::None, Preconditioner::Jacobi] {
        let whole = solve_conduction(world, [[9, 7], [9, 7]], 2.0, preconditioner);
        for shape in [[4, 3], [9, 1], [2, 7]] {
            assert_eq!(solve_conduction(world, [[9, 7], shape], 2.0, preconditioner), whole, "blocks of {shape:?}");
        }
    }
    let whole = solve_conduction(world, [[4, 3, 5], [4, 3, 5]], 2.0, Preconditioner::Jacobi);
    assert_eq!(solve_conduction(world, [[4, 3, 5], [3, 2, 5]], 2.0, Preconditioner::Jacobi), whole);
}

fn the_diagonal_undoes_bad_scaling(world: &Communicator) {
    let [plain, scaled] = [Preconditioner::None, Preconditioner::Jacobi]
        .map(|help| solve_conduction(world, [[9, 7], [4, 4]], 4.0, help).0);
    assert!(2 * scaled.iterations < plain.iterations, "{scaled:?}, {plain:?}");
}

fn a_guess_that_is_right_takes_no_iteration(world: &Communicator) {
    let room = Room::new(world, [16, 16], [4, 8], true);
    let (none, b, mut x) = (room.field(0, |_| 0.0), room.field(1, |_| 6.0), room.field(1, |_| 2.0));
    let mut solver = room.solver(SETTINGS);
    let solution = solver.solve(world, &Helmholtz { shift: 3.0 }, &none, &b, &mut x, |_, _| ()).unwrap();
    assert_eq!(solution, Solution { iterations: 0, residual: 0.0 });
    assert_eq!(room.difference(&x, |_| 2.0), 0.0);
    let nothing = room.field(1, |_| 0.0);
    solver.solve(world, &Helmholtz { shift: 3.0 }, &none, &nothing, &mut x, |_, _| ()).unwrap();
    assert_eq!(room.difference(&x, |_| 0.0), 0.0, "nothing is the solution for nothing");
}

fn an_operator_that_is_not_positive_is_refused(world: &Communicator) {
    let room = Room::new(world, [12, 12], [4, 4], true);
    let (none, b) = (room.field(0, |_| 0.0), room.field(1, |cell| random::uniform(4, cell)));
    for (shift, preconditioner, told) in [
        (-100.0, Preconditioner::None, "p·A p = -"),
        (-100.0, Preconditioner::Jacobi, "p·A p = -"),
        (-1000.0, Preconditioner::Jacobi, "its diagonal has an entry -"),
        (f64::NAN, Preconditioner::Jacobi, "its diagonal has an entry NaN"),
        (f64::NAN, Preconditioner::None, "a residual of NaN"),
    ] {
        let mut solver = room.solver(Settings { preconditioner, ..SETTINGS });
        let error =
            solver.solve(world, &Helmholtz { shift }, &none, &b, &mut b.clone(), |_, _| ()).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("hint:"), "{error}");
    }
}

fn no_convergence_is_an_error_with_its_numbers(world: &Communicator) {
    let room = Room::new(world, [40, 40], [10, 10], false);
    let (none, b) = (room.field(0, |_| 0.0), room.field(1, |cell| random::uniform(4, cell)));
    let mut solver = room.solver(Settings { most_iterations: 7, ..SETTINGS });
    let error =
        solver.solve(world, &Helmholtz { shift: 0.0 }, &none, &b, &mut b.clone(), |_, _| ()).unwrap_err().to_string();
    assert!(error.contains("in 7 iterations; 1e-12 was asked for in at most 7"), "{error}");
    let (tiling, partition) = (&room.tiling, &room.partition);
    let loose = Settings { tolerance: 0.0, ..SETTINGS };
    let error = ConjugateGradient::new(world, tiling, partition, 1, Backend::Neighbourhood, loose).unwrap_err();
    assert!(error.to_string().contains("tolerance is 0;"), "{error}");
}

fn a_solve_allocates_nothing(world: &Communicator) {
    let room = Room::new(world, [12, 12], [4, 4], false);
    let k = room.exchanged(room.field(1, |cell| 1.0 + random::uniform(1, cell)));
    let (b, mut x) = (room.field(1, |cell| random::uniform(2, cell)), room.field(1, |_| 0.0));
    for preconditioner in [Preconditioner::None, Preconditioner::Jacobi] {
        let mut solver = room.solver(Settings { preconditioner, ..SETTINGS });
        let counted = allocation_counter::measure(|| {
            solver.solve(world, &Conduction, &k, &b, &mut x, |_, _| ()).unwrap();
        });
        assert_eq!(counted.count_total, 0, "{preconditioner:?}");
    }
}
