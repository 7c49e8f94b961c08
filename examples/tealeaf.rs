//! TeaLeaf: linear heat conduction by implicit steps, ∂u/∂t = ∇·(1/ρ) ∇u, with u = ρe and nothing through the outer faces.
//!
//! Each step solves (1 − dt ∇·(1/ρ) ∇) u = u before, by conjugate gradients. The benchmark's own check is the "temperature" after ten
//! steps, the integral of ρu (UK-MAC TeaLeaf, <https://github.com/UK-MAC/TeaLeaf>).
use steadfast::comm::ExactSum;
use steadfast::field::Field;
use steadfast::grid::Side;
use steadfast::halo::Backend;
use steadfast::prelude::*;
use steadfast::solve::{ConjugateGradient, Operator, Settings};

steadfast::record! { struct Leaf: f64 { density: f64 = "1", energy: f64 = "1" } }
// The mean of 1/ρ at the low faces of a cell, 0 on the outer faces of the domain.
steadfast::record! { struct Faces: f64 { k: Vector<2> = "1" } }

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TeaLeaf {
    /// What lies where, each over those before it.
    rectangles: Vec<Rectangle>,
    /// How well a step is solved.
    solver: Settings,
    #[serde(skip)]
    work: Option<Work>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rectangle {
    lower: [f64; 2],
    upper: [f64; 2],
    density: f64,
    energy: f64,
}

struct Work {
    solver: ConjugateGradient<2>,
    faces: Field<f64, 2>,
    before: Field<f64, 2>,
    u: Field<f64, 2>,
}

#[derive(Serialize, Deserialize, Default)]
struct Summary {
    temperature: f64,
    iterations: u64,
}

struct Conduction {
    dt: f64,
}

impl Operator<2> for Conduction {
    type Coefficients = Faces;

    #[inline(always)]
    fn apply(&self, u: Stencil<'_, f64, 2>, faces: Stencil<'_, Faces, 2>) -> f64 {
        let outflow = |a: Axis<2>| {
            let (low, high) = (faces.here().k[a], faces.at(a).k[a]);
            (low * (u.here() - u.at(-a)) + high * (u.here() - u.at(a))) * u.spacing(a).powi(-2)
        };
        u.here() + self.dt * Axis::all().map(outflow).sum::<f64>()
    }

    #[inline(always)]
    fn diagonal(&self, faces: Stencil<'_, Faces, 2>) -> f64 {
        let both = |a: Axis<2>| (faces.here().k[a] + faces.at(a).k[a]) * faces.spacing(a).powi(-2);
        1.0 + self.dt * Axis::all().map(both).sum::<f64>()
    }
}

impl Program<2> for TeaLeaf {
    type State = Leaf;
    type Shared = Summary;

    fn needs(&self) -> Needs {
        Needs { reach: 1, ..Needs::default() }
    }

    fn check(&self) -> Result<()> {
        match self.rectangles.iter().position(|r| r.density <= 0.0) {
            Some(i) => Err(Error::case(format!("model.rectangles.{i}.density must be above 0"))),
            None => Ok(()),
        }
    }

    fn prepare(&mut self, data: &Domain<Leaf, 2>, _directory: &Path) -> Result<()> {
        let (comm, tiling, partition) = (data.comm(), data.tiling(), data.partition());
        let solver = ConjugateGradient::new(comm, tiling, partition, 1, Backend::default(), self.solver)?;
        let field = |components| Field::new(tiling, partition, comm.rank(), 1, components);
        self.work = Some(Work { solver, faces: field(2), before: field(1), u: field(1) });
        Ok(())
    }

    fn begin(&mut self, data: &mut Domain<Leaf, 2>) -> Result<Summary> {
        // A cell that a rectangle overlaps by more than a hundredth of its side belongs to it.
        let h = data.grid().spacing() * 0.49;
        let over = |r: &Rectangle, x: Vector<2>| (0..2).all(|a| x[a] + h[a] > r.lower[a] && x[a] - h[a] < r.upper[a]);
        data.set_each(|_, x| {
            let on_top = self.rectangles.iter().rev().find(|r| over(r, x));
            on_top.map_or(Leaf { density: 0.0, energy: 0.0 }, |r| Leaf { density: r.density, energy: r.energy })
        });
        let mut cells = data.state().patches().iter().flat_map(|patch| patch.interior().cells());
        match cells.find(|&cell| data.get(cell).density == 0.0) {
            Some(cell) => Err(Error::case(format!("no rectangle of model.rectangles covers cell {:?}", cell.0))),
            None => Ok(Summary::default()),
        }
    }

    fn step(&mut self, data: &mut Domain<Leaf, 2>, summary: &mut Summary, step: &Step<'_>) -> Result<()> {
        let Work { solver, faces, before, u } = self.work.as_mut().expect("a run is prepared before its first step");
        data.fill_ghosts()?;
        let cells = data.grid().cells();
        let own = before.patches_mut().iter_mut().zip(u.patches_mut()).zip(faces.patches_mut());
        for (patch, ((before, u), faces)) in data.state().patches().iter().zip(own) {
            let density = |cell| patch.get::<Leaf>(cell).density;
            for cell in patch.interior().cells() {
                let value = density(cell) * patch.get::<Leaf>(cell).energy;
                before.set(cell, value);
                u.set(cell, value);
            }
            let with_high_faces = Axis::all().fold(patch.interior(), |region, a| region.grow_side(a, Side::High, 1));
            for cell in with_high_faces.cells() {
                let between = |a: Axis<2>| {
                    let (low, high) = (density(cell - Offset::from(a)), density(cell));
                    let outer = [0, cells[a.index()] as i64].contains(&cell.0[a.index()]);
                    if outer { 0.0 } else { (low + high) / (2.0 * low * high) }
                };
                faces.set(cell, Faces { k: Vector::from_fn(between) });
            }
        }
        let (comm, conduction) = (data.comm().clone(), Conduction { dt: step.dt });
        let solution = solver.solve(&comm, &conduction, faces, before, u, |_, _| step.show(Activity::Sweep))?;
        let mut sum = ExactSum::new();
        for (patch, u) in data.state_mut().patches_mut().iter_mut().zip(u.patches()) {
            for cell in patch.interior().cells() {
                let (Leaf { density, .. }, u) = (patch.get(cell), u.get::<f64>(cell));
                patch.set(cell, Leaf { density, energy: u / density });
                sum.add(density * u);
            }
        }
        let temperature = sum.reduce(&comm)? * data.grid().spacing().product();
        *summary = Summary { temperature, iterations: solution.iterations };
        Ok(())
    }
}

fn main() -> ExitCode {
    steadfast::main_program::<TeaLeaf, 2>()
}
