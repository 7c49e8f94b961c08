//! The wave equation as a record of two: ∂u/∂t = v, ∂v/∂t = c² ∇²u.
use steadfast::prelude::*;

steadfast::record! {
    /// A membrane: where it is, and how fast it moves.
    struct Membrane: f64 {
        /// Displacement.
        u: f64 = "m",
        /// Velocity ∂u/∂t.
        v: f64 = "m/s",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wave {
    /// Speed of the waves c, m/s.
    speed: f64,
    /// Width of the first bump, m.
    width: f64,
}

impl<const N: usize> Model<N> for Wave {
    type State = Membrane;
    const REACH: usize = 1;

    fn initial(&self, x: Vector<N>) -> Membrane {
        Membrane { u: (-x.norm_squared() / self.width.powi(2)).exp(), v: 0.0 }
    }

    #[inline(always)]
    fn rate(&self, m: Stencil<'_, Membrane, N>, _time: f64) -> Membrane {
        let curvature = |a: Axis<N>| (m.at(-a).u - 2.0 * m.here().u + m.at(a).u) * m.spacing(a).powi(-2);
        Membrane { u: m.here().v, v: self.speed.powi(2) * Axis::all().map(curvature).sum::<f64>() }
    }

    #[inline(always)]
    fn timescale(&self, _m: Membrane, spacing: Vector<N>) -> f64 {
        1.0 / (self.speed * spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>().sqrt())
    }
}

fn main() -> ExitCode {
    steadfast::main::<Wave>()
}
