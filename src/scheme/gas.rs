//! An ideal gas, for this room's tests.

use serde::Deserialize;

use super::ConservationLaw;
use crate::grid::{Axis, Vector};

crate::record! {
    /// What is conserved.
    pub struct Conserved<N>: f64 {
        /// Mass density.
        density: f64 = "kg/m³",
        /// Momentum density.
        momentum: Vector<N> = "kg/(m² s)",
        /// Energy density.
        energy: f64 = "J/m³",
    }
}

crate::record! {
    /// What is reconstructed.
    pub struct Primitive<N>: f64 {
        /// Mass density.
        density: f64 = "kg/m³",
        /// Velocity.
        velocity: Vector<N> = "m/s",
        /// Pressure.
        pressure: f64 = "Pa",
    }
}

/// An ideal gas.
#[derive(Deserialize)]
pub struct Gas {
    /// The ratio of specific heats.
    pub gamma: f64,
}

impl Gas {
    fn sound<const N: usize>(&self, w: Primitive<N>) -> f64 {
        (self.gamma * w.pressure / w.density).sqrt()
    }
}

impl<const N: usize> ConservationLaw<N> for Gas {
    type State = Conserved<N>;
    type Primitive = Primitive<N>;
    const HAS_CONTACT: bool = true;

    fn initial(&self, x: Vector<N>) -> Conserved<N> {
        let phase: f64 = x.0.iter().sum();
        let velocity = Vector::from_fn(|a| 0.3 * (phase + a.index() as f64).sin());
        self.conserved(Primitive { density: 1.0 + 0.5 * phase.sin(), velocity, pressure: 1.0 + 0.3 * phase.cos() })
    }

    #[inline]
    fn primitive(&self, u: Conserved<N>) -> Primitive<N> {
        let velocity = u.momentum * (1.0 / u.density);
        let pressure = (self.gamma - 1.0) * (u.energy - 0.5 * u.momentum.dot(velocity));
        Primitive { density: u.density, velocity, pressure }
    }

    #[inline]
    fn conserved(&self, w: Primitive<N>) -> Conserved<N> {
        let momentum = w.density * w.velocity;
        let energy = w.pressure / (self.gamma - 1.0) + 0.5 * momentum.dot(w.velocity);
        Conserved { density: w.density, momentum, energy }
    }

    #[inline]
    fn flux(&self, w: Primitive<N>, axis: Axis<N>) -> Conserved<N> {
        let (u, speed) = (self.conserved(w), w.velocity[axis]);
        let mut momentum = speed * u.momentum;
        momentum[axis] += w.pressure;
        Conserved { density: u.momentum[axis], momentum, energy: (u.energy + w.pressure) * speed }
    }

    #[inline]
    fn speeds(&self, w: Primitive<N>, axis: Axis<N>) -> [f64; 2] {
        let sound = self.sound(w);
        [w.velocity[axis] - sound, w.velocity[axis] + sound]
    }

    #[inline]
    fn admissible(&self, w: Primitive<N>) -> bool {
        (w.density > 0.0) & (w.pressure > 0.0)
    }

    #[inline]
    fn contact(&self, [low, high]: [Primitive<N>; 2], fan: [f64; 2], axis: Axis<N>) -> f64 {
        let (v_low, v_high) = (low.velocity[axis], high.velocity[axis]);
        let (m_low, m_high) = (low.density * (v_low - fan[0]), high.density * (fan[1] - v_high));
        let deviation = 0.5 * (m_high - m_low) * (v_high - v_low) + (low.pressure - high.pressure);
        0.5 * (v_low + v_high) + deviation / (m_low + m_high)
    }

    #[inline]
    fn beside_contact(&self, w: Primitive<N>, signal: f64, contact: f64, axis: Axis<N>) -> Conserved<N> {
        let u = self.conserved(w);
        let own = w.velocity[axis];
        let squeeze = (signal - own) / (signal - contact);
        let density = squeeze * w.density;
        let mut momentum = squeeze * u.momentum;
        momentum[axis] = density * contact;
        let work = (contact - own) * (w.density * contact + w.pressure / (signal - own));
        Conserved { density, momentum, energy: squeeze * (u.energy + work) }
    }
}
