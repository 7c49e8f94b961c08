//! Heat conduction: ∂T/∂t = κ ∇²T, in one, two or three dimensions.
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Heat {
    /// Thermal diffusivity κ, m²/s.
    diffusivity: f64,
}

impl<const N: usize> Model<N> for Heat {
    type State = f64; // temperature, K
    const REACH: usize = 1;

    fn components() -> Vec<Component> {
        vec![Component::scalar("temperature", "K")]
    }

    fn initial(&self, x: Vector<N>) -> f64 {
        x.0.iter().map(|x| (std::f64::consts::TAU * x).sin()).product()
    }

    #[inline(always)]
    fn rate(&self, u: Stencil<'_, f64, N>, _time: f64) -> f64 {
        let curvature = |a: Axis<N>| (u.at(-a) - 2.0 * u.here() + u.at(a)) * u.spacing(a).powi(-2);
        self.diffusivity * Axis::all().map(curvature).sum::<f64>()
    }

    #[inline(always)]
    fn timescale(&self, _u: f64, spacing: Vector<N>) -> f64 {
        0.5 / (self.diffusivity * spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>())
    }
}

fn main() -> ExitCode {
    steadfast::main::<Heat>()
}
