//! Gas dynamics: mass, momentum and energy of an ideal gas, ∂ρ/∂t + ∇·(ρv) = 0, ∂(ρv)/∂t + ∇·(ρv⊗v) + ∇p = 0,
//! ∂E/∂t + ∇·((E + p) v) = 0, with p = (γ − 1)(E − ½ρv²).
use std::f64::consts::{PI, TAU};

use steadfast::prelude::*;

steadfast::record! {
    /// What is conserved, per volume.
    struct Gas<N>: f64 {
        density: f64 = "kg/m³",
        momentum: Vector<N> = "kg/(m² s)",
        energy: f64 = "J/m³",
    }
}

steadfast::record! {
    /// What is reconstructed.
    struct Flow<N>: f64 {
        density: f64 = "kg/m³",
        velocity: Vector<N> = "m/s",
        pressure: f64 = "Pa",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Euler {
    /// Ratio of specific heats γ.
    gamma: f64,
    problem: Problem,
}

/// How the gas begins. `Blast`, `Vortex` and `KelvinHelmholtz` have p = 1 or 10 and speeds of about 1 in the case's units.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Problem {
    /// Sod 1978, doi:10.1016/0021-9991(78)90023-2: two gases at rest meet at 0 along an axis (0 is x).
    Sod { axis: usize },
    /// A sine of small amplitude (Stone et al. 2008, doi:10.1086/588755): a sound wave that runs to the right (`sound = 1`)
    /// or left (−1), or an entropy wave (0) that drifts at speed 1. `waves` is its number of waves a metre along each axis.
    Wave { amplitude: f64, sound: f64, waves: Vec<f64> },
    /// A vortex of strength β round the origin that drifts with the wind (Shu 1998, doi:10.1007/BFb0096355).
    Vortex { strength: f64, wind: f64 },
    /// An energy (J, or J/m in two dimensions) in a ball round the origin, of Gaussian profile (Sedov 1959).
    Blast { energy: f64, width: f64 },
    /// Two layers that slide past each other along x (Lecoanet et al. 2016, doi:10.1093/mnras/stv2564, equations 8 to 11).
    KelvinHelmholtz { contrast: f64 },
}

impl<const N: usize> ConservationLaw<N> for Euler {
    type State = Gas<N>;
    type Primitive = Flow<N>;
    const HAS_CONTACT: bool = true;

    fn check(&self) -> Result<()> {
        let wrong = |rule: &str| Err(Error::case(format!("model: {rule}; this grid has {N} axes")));
        match &self.problem {
            _ if self.gamma <= 1.0 => wrong("gamma must be above 1"),
            Problem::Sod { axis } if *axis >= N => wrong("problem.sod.axis must be one of the grid's"),
            Problem::Wave { waves, .. } if waves.len() != N => wrong("problem.wave.waves needs a number for each axis"),
            Problem::Vortex { .. } | Problem::KelvinHelmholtz { .. } if N < 2 => wrong("the problem needs two axes"),
            _ => Ok(()),
        }
    }

    fn initial(&self, x: Vector<N>) -> Gas<N> {
        let along = |a: usize, speed: f64| Vector::from_fn(|b: Axis<N>| if b.index() == a { speed } else { 0.0 });
        let flow = |density, velocity, pressure| self.conserved(Flow { density, velocity, pressure });
        match self.problem {
            Problem::Sod { axis } if x[axis] < 0.0 => flow(1.0, Vector::ZERO, 1.0),
            Problem::Sod { .. } => flow(0.125, Vector::ZERO, 0.1),
            Problem::Wave { amplitude, sound, ref waves } => {
                let k = Vector::from_fn(|a: Axis<N>| waves[a.index()]);
                let (sine, direction) = (amplitude * (TAU * k.dot(x)).sin(), k / k.norm());
                let drift = if sound == 0.0 { 1.0 } else { 0.0 };
                let wind = drift * direction;
                let mean = flow(1.0, wind, 1.0 / self.gamma); // the speed of sound is 1
                // The eigenvector of the linear equations.
                let energy = 0.5 * drift + sound.abs() / (self.gamma - 1.0);
                mean + Gas { density: 1.0, momentum: wind + sound * direction, energy } * sine
            }
            Problem::Vortex { strength, wind } => {
                let swirl = strength / TAU * (0.5 * (1.0 - x[0] * x[0] - x[1] * x[1])).exp();
                let heat = 1.0 - 0.5 * (self.gamma - 1.0) / self.gamma * swirl * swirl;
                let velocity = along(0, wind - swirl * x[1]) + along(1, wind + swirl * x[0]);
                let density = heat.powf(1.0 / (self.gamma - 1.0));
                flow(density, velocity, density * heat)
            }
            Problem::Blast { energy, width } => {
                let share = (-x.norm_squared() / (width * width)).exp() / (PI.sqrt() * width).powi(N as i32);
                flow(1.0, Vector::ZERO, 1e-5 + (self.gamma - 1.0) * energy * share)
            }
            Problem::KelvinHelmholtz { contrast } => {
                let (low, high) = ((x[1] + 0.5) / 0.05, (x[1] - 0.5) / 0.05);
                let layer = low.tanh() - high.tanh();
                let bump = |z: f64| (-(z * z) / 16.0).exp();
                let across = 0.01 * (TAU * x[0]).sin() * (bump(low) + bump(high));
                flow(1.0 + 0.5 * contrast * layer, along(0, layer - 1.0) + along(1, across), 10.0)
            }
        }
    }

    #[inline]
    fn primitive(&self, u: Gas<N>) -> Flow<N> {
        let velocity = u.momentum * (1.0 / u.density);
        let pressure = (self.gamma - 1.0) * (u.energy - 0.5 * u.momentum.dot(velocity));
        Flow { density: u.density, velocity, pressure }
    }

    #[inline]
    fn conserved(&self, w: Flow<N>) -> Gas<N> {
        let momentum = w.density * w.velocity;
        let energy = w.pressure / (self.gamma - 1.0) + 0.5 * momentum.dot(w.velocity);
        Gas { density: w.density, momentum, energy }
    }

    #[inline]
    fn flux(&self, w: Flow<N>, axis: Axis<N>) -> Gas<N> {
        let (u, v) = (self.conserved(w), w.velocity[axis]);
        let mut momentum = v * u.momentum;
        momentum[axis] += w.pressure;
        Gas { density: u.momentum[axis], momentum, energy: (u.energy + w.pressure) * v }
    }

    #[inline]
    fn speeds(&self, w: Flow<N>, axis: Axis<N>) -> [f64; 2] {
        let sound = (self.gamma * w.pressure / w.density).sqrt();
        [w.velocity[axis] - sound, w.velocity[axis] + sound]
    }

    #[inline]
    fn admissible(&self, w: Flow<N>) -> bool {
        (w.density > 0.0) & (w.pressure > 0.0)
    }

    /// Toro 2009, equation 10.37, as the mean velocity and what comes of the differences: exact where there are none.
    #[inline]
    fn contact(&self, [low, high]: [Flow<N>; 2], fan: [f64; 2], axis: Axis<N>) -> f64 {
        let (v, w) = (low.velocity[axis], high.velocity[axis]);
        let (m, n) = (low.density * (v - fan[0]), high.density * (fan[1] - w));
        0.5 * (v + w) + (0.5 * (n - m) * (w - v) + (low.pressure - high.pressure)) / (m + n)
    }

    /// Toro 2009, equation 10.39.
    #[inline]
    fn beside_contact(&self, w: Flow<N>, signal: f64, contact: f64, axis: Axis<N>) -> Gas<N> {
        let (u, v) = (self.conserved(w), w.velocity[axis]);
        let squeeze = (signal - v) / (signal - contact);
        let mut momentum = squeeze * u.momentum;
        momentum[axis] = squeeze * w.density * contact;
        let work = (contact - v) * (w.density * contact + w.pressure / (signal - v));
        Gas { density: squeeze * w.density, momentum, energy: squeeze * (u.energy + work) }
    }

    fn derived() -> Vec<Component> {
        vec![Component::scalar("pressure", "Pa"), Component::scalar("mach", "1")]
    }

    fn derive(&self, u: Gas<N>, mut put: impl FnMut(usize, f64)) {
        let w: Flow<N> = self.primitive(u);
        put(0, w.pressure);
        put(1, w.velocity.norm() / (self.gamma * w.pressure / w.density).sqrt());
    }
}

fn main() -> ExitCode {
    steadfast::main_law::<Euler>()
}
