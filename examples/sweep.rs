//! A parameter study as a farm of tasks: which pattern does Gray–Scott make for which feed and kill rate?
//!
//! Each task is one small simulation; the ranks take them as they come free, the longest first. What is kept of each is
//! enough to tell Pearson's classes apart: how much of the second species there is in the end, how unevenly it lies, and how
//! much it still moves (Pearson 1993, doi:10.1126/science.261.5118.189).
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Patterns {
    /// Points along each side of the periodic square; its side is this over 100.
    points: usize,
    /// The time at which a pattern is judged.
    end: f64,
}

steadfast::record! {
    /// What is kept of one simulation.
    struct Pattern: f64 {
        /// Mean concentration of the second species at the end.
        mean: f64 = "1",
        /// Its standard deviation over the square.
        contrast: f64 = "1",
        /// Root mean square of its change in the last tenth of the time.
        unrest: f64 = "1",
    }
}

/// Diffusivities of u and v, and the step.
const DIFFUSIVITY: [f64; 2] = [2e-5, 1e-5];
const STEP: f64 = 1.0;

impl Tasks<2> for Patterns {
    type Outcome = Pattern;

    fn check(&self) -> Result<()> {
        match (self.points, self.end) {
            (8..=4096, 10.0..) => Ok(()),
            (8..=4096, end) => Err(Error::case(format!("model.end = {end} must be at least 10: ten steps"))),
            (points, _) => Err(Error::case(format!("model.points = {points} must be from 8 to 4096"))),
        }
    }

    /// Where 4 (F + k)² > F no uniform state has both species, and most seeds die out: what is left of the time is skipped.
    fn cost(&self, _cell: Cell<2>, Vector([kill, feed]): Vector<2>) -> f64 {
        self.end * if 4.0 * (feed + kill).powi(2) > feed { 0.2 } else { 1.0 }
    }

    fn run(&self, _cell: Cell<2>, Vector([kill, feed]): Vector<2>) -> Result<Pattern> {
        let n = self.points;
        let seeded = |i: usize| [i % n, i / n].iter().all(|x| x.abs_diff(n / 2) < n / 8);
        let mut u: Vec<[f64; 2]> = (0..n * n).map(|i| if seeded(i) { [0.5, 0.25] } else { [1.0, 0.0] }).collect();
        let mut next = u.clone();
        let steps = (self.end / STEP) as usize;
        let mut before = u.clone();
        for step in 0..steps {
            if step == steps - steps / 10 {
                before.clone_from(&u);
            }
            advance(&u, &mut next, n, feed, kill);
            std::mem::swap(&mut u, &mut next);
            if u.iter().all(|c| c[1] < 1e-6) {
                return Ok(Pattern { mean: 0.0, contrast: 0.0, unrest: 0.0 });
            }
        }
        let over = |f: &dyn Fn(usize) -> f64| (0..n * n).map(f).sum::<f64>() / (n * n) as f64;
        let mean = over(&|i| u[i][1]);
        let contrast = over(&|i| (u[i][1] - mean).powi(2)).sqrt();
        let unrest = over(&|i| (u[i][1] - before[i][1]).powi(2)).sqrt();
        Ok(Pattern { mean, contrast, unrest })
    }
}

/// One step of forward Euler on a periodic square of side n/100.
fn advance(u: &[[f64; 2]], next: &mut [[f64; 2]], n: usize, feed: f64, kill: f64) {
    for y in 0..n {
        let rows = [(y + n - 1) % n, y, (y + 1) % n].map(|y| &u[y * n..][..n]);
        for x in 0..n {
            let [a, b] = rows[1][x];
            let around = [rows[0][x], rows[2][x], rows[1][(x + n - 1) % n], rows[1][(x + 1) % n]];
            let bend = |c: usize| (around.iter().map(|u| u[c]).sum::<f64>() - 4.0 * rows[1][x][c]) * 1e4;
            let reaction = a * b * b;
            next[y * n + x] = [
                a + STEP * (DIFFUSIVITY[0] * bend(0) - reaction + feed * (1.0 - a)),
                b + STEP * (DIFFUSIVITY[1] * bend(1) + reaction - (feed + kill) * b),
            ];
        }
    }
}

fn main() -> ExitCode {
    steadfast::main_program::<Farm<Patterns, 2>, 2>()
}
