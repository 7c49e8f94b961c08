//! Gray–Scott: two species that react and diffuse, and make spots, stripes and mazes.
//!
//! ∂u/∂t = Dᵤ ∇²u − u v² + F (1 − u), ∂v/∂t = Dᵥ ∇²v + u v² − (F + k) v (Pearson 1993, doi:10.1126/science.261.5118.189).
use steadfast::prelude::*;

steadfast::record! {
    /// The concentrations of the two species.
    struct Species: f64 {
        /// The food.
        u: f64 = "1",
        /// What feeds on it.
        v: f64 = "1",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GrayScott {
    /// Diffusivities of u and v, in cells of the domain's length squared per unit of time.
    diffusivity: [f64; 2],
    /// Feed rate F.
    feed: f64,
    /// Kill rate k.
    kill: f64,
    /// Seed of the noise in the first square.
    seed: u64,
}

impl<const N: usize> Model<N> for GrayScott {
    type State = Species;
    const REACH: usize = 1;

    fn initial(&self, x: Vector<N>) -> Species {
        // A square of side 0.4 round the origin, with noise of a hundredth to break the symmetry.
        let inside = x.0.iter().all(|x| x.abs() < 0.2);
        let place = Cell(x.0.map(|x| (x * 1e6).round() as i64));
        let noise = 0.01 * (random::uniform(self.seed, place) - 0.5);
        if inside { Species { u: 0.5 + noise, v: 0.25 + noise } } else { Species { u: 1.0, v: 0.0 } }
    }

    #[inline(always)]
    fn rate(&self, s: Stencil<'_, Species, N>, _time: f64) -> Species {
        let Species { u, v } = s.here();
        let bend = |a: Axis<N>| (s.at(-a) - 2.0 * s.here() + s.at(a)) * s.spacing(a).powi(-2);
        let laplacian = Axis::all().map(bend).fold(Species { u: 0.0, v: 0.0 }, |sum, part| sum + part);
        Species {
            u: self.diffusivity[0] * laplacian.u - u * v * v + self.feed * (1.0 - u),
            v: self.diffusivity[1] * laplacian.v + u * v * v - (self.feed + self.kill) * v,
        }
    }

    #[inline(always)]
    fn timescale(&self, _s: Species, spacing: Vector<N>) -> f64 {
        0.5 / (self.diffusivity[0].max(self.diffusivity[1]) * spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>())
    }
}

fn main() -> ExitCode {
    steadfast::main::<GrayScott>()
}
