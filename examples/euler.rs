//! Gas dynamics: mass, momentum and energy of an ideal gas, ∂ρ/∂t + ∇·(ρv) = 0, ∂(ρv)/∂t + ∇·(ρv⊗v) + ∇p = 0,
//! ∂E/∂t + ∇·((E + p) v) = 0, with p = (γ − 1)(E − ½ρv²).
use std::f64::consts::{PI, TAU};
use steadfast::prelude::*;

steadfast::record! {
    struct Gas<N>: f64 {
        density: f64 = "kg/m³",
        momentum: Vector<N> = "kg/(m² s)",
        energy: f64 = "J/m³",
    }
}

steadfast::record! {
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

/// How the gas begins; lengths, times and masses of order one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Problem {
    /// Two gases at rest that meet at 0 along an axis, 0 for x (Sod 1978, doi:10.1016/0021-9991(78)90023-2).
    Sod { axis: usize },
    /// Sound to the right (1) or left (−1), or entropy adrift (0); waves a metre (Stone et al. 2008, doi:10.1086/588755).
    Wave { amplitude: f64, sound: f64, waves: [f64; 3] },
    /// A vortex round the origin that drifts with the wind (Shu 1998, doi:10.1007/BFb0096355).
    Vortex { strength: f64, wind: f64 },
    /// An energy in a small ball of Gaussian profile round the origin (Sedov 1959).
    Blast { energy: f64, width: f64 },
    /// Two layers that slide past each other along x (Lecoanet et al. 2016, doi:10.1093/mnras/stv2564, equations 8 to 11).
    KelvinHelmholtz { contrast: f64 },
}

impl<const N: usize> ConservationLaw<N> for Euler {
    type State = Gas<N>;
    type Primitive = Flow<N>;
    const HAS_CONTACT: bool = true;

    fn check(&self) -> Result<()> {
        let axes = match self.problem {
            Problem::Sod { axis } => axis + 1,
            Problem::Vortex { .. } | Problem::KelvinHelmholtz { .. } => 2,
            _ => 1,
        };
        if self.gamma <= 1.0 {
            return Err(Error::case(format!("model.gamma = {} must be above 1", self.gamma)));
        }
        if axes <= N { Ok(()) } else { Err(Error::case(format!("model.problem needs {axes} axes, the grid has {N}"))) }
    }

    fn initial(&self, x: Vector<N>) -> Gas<N> {
        let at = |a| Vector::unit(Axis::<N>::new(a));
        let gas = |density, velocity, pressure| self.conserved(Flow { density, velocity, pressure });
        match self.problem {
            Problem::Sod { axis } if x[axis] < 0.0 => gas(1.0, Vector::ZERO, 1.0),
            Problem::Sod { .. } => gas(0.125, Vector::ZERO, 0.1),
            Problem::Wave { amplitude, sound, waves } => {
                let k = Vector::from_fn(|a: Axis<N>| waves[a.index()]);
                let (sine, direction) = (amplitude * (TAU * k.dot(x)).sin(), k / k.norm());
                // The speed of sound is 1; the wave is an eigenvector of the linear equations.
                let wind = (1.0 - sound.abs()) * direction;
                let energy = 0.5 * wind.norm_squared() + sound.abs() / (self.gamma - 1.0);
                gas(1.0, wind, 1.0 / self.gamma)
                    + Gas { density: 1.0, momentum: wind + sound * direction, energy } * sine
            }
            Problem::Vortex { strength, wind } => {
                let swirl = strength / TAU * (0.5 * (1.0 - x[0] * x[0] - x[1] * x[1])).exp();
                let heat = 1.0 - 0.5 * (self.gamma - 1.0) / self.gamma * swirl * swirl;
                let density = heat.powf(1.0 / (self.gamma - 1.0));
                gas(density, (wind - swirl * x[1]) * at(0) + (wind + swirl * x[0]) * at(1), density * heat)
            }
            Problem::Blast { energy, width } => {
                let share = (-x.norm_squared() / (width * width)).exp() / (PI.sqrt() * width).powi(N as i32);
                gas(1.0, Vector::ZERO, 1e-5 + (self.gamma - 1.0) * energy * share)
            }
            Problem::KelvinHelmholtz { contrast } => {
                let (low, high) = ((x[1] + 0.5) / 0.05, (x[1] - 0.5) / 0.05);
                let layer = low.tanh() - high.tanh();
                let push = 0.01 * (TAU * x[0]).sin() * ((-low * low / 16.0).exp() + (-high * high / 16.0).exp());
                gas(1.0 + 0.5 * contrast * layer, (layer - 1.0) * at(0) + push * at(1), 10.0)
            }
        }
    }

    fn primitive(&self, u: Gas<N>) -> Flow<N> {
        let velocity = u.momentum * (1.0 / u.density);
        let pressure = (self.gamma - 1.0) * (u.energy - 0.5 * u.momentum.dot(velocity));
        Flow { density: u.density, velocity, pressure }
    }

    fn conserved(&self, w: Flow<N>) -> Gas<N> {
        let momentum = w.density * w.velocity;
        let energy = w.pressure / (self.gamma - 1.0) + 0.5 * momentum.dot(w.velocity);
        Gas { density: w.density, momentum, energy }
    }

    fn flux(&self, w: Flow<N>, axis: Axis<N>) -> Gas<N> {
        let v = w.velocity[axis];
        v * self.conserved(w) + Gas { density: 0.0, momentum: w.pressure * Vector::unit(axis), energy: w.pressure * v }
    }

    fn speeds(&self, w: Flow<N>, axis: Axis<N>) -> [f64; 2] {
        let sound = (self.gamma * w.pressure / w.density).sqrt();
        [w.velocity[axis] - sound, w.velocity[axis] + sound]
    }

    fn admissible(&self, w: Flow<N>) -> bool {
        (w.density > 0.0) & (w.pressure > 0.0)
    }

    /// Toro 2009, doi:10.1007/b79761, equations 10.37 and 10.39, as a mean and what comes of differences.
    fn contact(&self, [low, high]: [Flow<N>; 2], fan: [f64; 2], axis: Axis<N>) -> f64 {
        let (v, w) = (low.velocity[axis], high.velocity[axis]);
        let (m, n) = (low.density * (v - fan[0]), high.density * (fan[1] - w));
        0.5 * (v + w) + (0.5 * (n - m) * (w - v) + (low.pressure - high.pressure)) / (m + n)
    }

    fn beside_contact(&self, w: Flow<N>, signal: f64, contact: f64, axis: Axis<N>) -> Gas<N> {
        let (v, push) = (w.velocity[axis], contact - w.velocity[axis]);
        let energy = push * (w.density * contact + w.pressure / (signal - v));
        let change = Gas { density: 0.0, momentum: w.density * push * Vector::unit(axis), energy };
        (signal - v) / (signal - contact) * (self.conserved(w) + change)
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
