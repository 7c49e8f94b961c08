//! Advection with a constant velocity: ∂u/∂t + v·∇u = 0, third-order upwind in one, two or three dimensions.
//!
//! On a periodic domain the initial state comes back after one period, so that the error of the scheme can be read off
//! the result. The derivative is the third-order upwind-biased difference (2 u₊₁ + 3 u₀ − 6 u₋₁ + u₋₂) / 6h, which reads
//! two cells upwind and one downwind (Leonard 1979, doi:10.1016/0045-7825(79)90034-3).
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Advection {
    /// Velocity, m/s, a number for each axis.
    velocity: Vec<f64>,
}

impl<const N: usize> Model<N> for Advection {
    type State = f64;
    const REACH: usize = 2;

    fn check(&self) -> Result<()> {
        match self.velocity.len() {
            length if length == N => Ok(()),
            length => {
                Err(Error::case(format!("model.velocity has {length} numbers; a {N}-dimensional grid needs {N}")))
            }
        }
    }

    fn initial(&self, x: Vector<N>) -> f64 {
        x.0.iter().map(|x| (std::f64::consts::TAU * x).sin()).product()
    }

    #[inline(always)]
    fn rate(&self, u: Stencil<'_, f64, N>, _time: f64) -> f64 {
        let slope = |a: Axis<N>| {
            let v = self.velocity[a.index()];
            let (down, up, far) =
                if v > 0.0 { (u.at(a), u.at(-a), u.at(-2 * a)) } else { (u.at(-a), u.at(a), u.at(2 * a)) };
            v.abs() * (2.0 * down + 3.0 * u.here() - 6.0 * up + far) / (6.0 * u.spacing(a))
        };
        -Axis::all().map(slope).sum::<f64>()
    }

    #[inline(always)]
    fn timescale(&self, _u: f64, spacing: Vector<N>) -> f64 {
        1.0 / Axis::<N>::all().map(|a| self.velocity[a.index()].abs() / spacing[a]).sum::<f64>()
    }
}

fn main() -> ExitCode {
    steadfast::main::<Advection>()
}
