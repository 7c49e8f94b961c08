//! Hillslope diffusion on real terrain: ∂z/∂t = D ∇²z.
//!
//! Soil creeps downhill in proportion to the slope, so that ridges lower and hollows fill (Culling 1960, Journal of
//! Geology 68, doi:10.1086/626663). The elevation comes from a dataset that the case file names and is resampled to the
//! grid; the model itself starts from a plain at sea level.
use steadfast::prelude::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Hillslope {
    /// Diffusivity of the soil D, m²/yr.
    diffusivity: f64,
}

impl Model<2> for Hillslope {
    type State = f64;
    const REACH: usize = 1;

    fn components() -> Vec<Component> {
        vec![Component::scalar("elevation", "m")]
    }

    fn initial(&self, _x: Vector<2>) -> f64 {
        0.0
    }

    #[inline(always)]
    fn rate(&self, z: Stencil<'_, f64, 2>, _time: f64) -> f64 {
        let curvature = |a: Axis<2>| (z.at(-a) - 2.0 * z.here() + z.at(a)) * z.spacing(a).powi(-2);
        self.diffusivity * Axis::all().map(curvature).sum::<f64>()
    }

    #[inline(always)]
    fn timescale(&self, _z: f64, spacing: Vector<2>) -> f64 {
        0.5 / (self.diffusivity * spacing.0.iter().map(|h| h.powi(-2)).sum::<f64>())
    }
}

fn main() -> ExitCode {
    steadfast::main_in::<Hillslope, 2>()
}
