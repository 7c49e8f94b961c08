//! The time integrators, as tables of stages.

use super::physics::Order;
use super::program::{Together, Traffic};
use crate::config::Integrator;

/// The most buffers that an integrator has.
pub(super) const MOST_BUFFERS: usize = 4;

/// One of the buffers that an integrator works on; buffer 0 holds the state.
pub(super) type Buffer = usize;

/// One sweep of a step: `out = keep·old + take·source + dt·rate·f(source, t + when·dt)`, cell by cell.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stage {
    /// The buffer whose rate of change is taken.
    pub source: Buffer,
    /// The buffer that is kept a part of; it may be `out`, which is then overwritten in place.
    pub old: Buffer,
    /// The buffer that is written.
    pub out: Buffer,
    /// The part of `old` that is kept; where `old` is `source`, all of it is counted here.
    pub keep: f64,
    /// The part of `source` that is taken besides.
    pub take: f64,
    /// The weight of dt times the rate; 0 means that no rate is computed.
    pub rate: f64,
    /// When the rate is taken, as a part of the step.
    pub when: f64,
    /// How accurate the rate has to be.
    pub order: Order,
}

const fn stage(source: Buffer, old: Buffer, out: Buffer, [keep, take, rate, when]: [f64; 4]) -> Stage {
    Stage { source, old, out, keep, take, rate, when, order: Order::Full }
}

/// The stages of one step. After them the new state is in `result`, which trades places with buffer 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Stages {
    pub stages: &'static [Stage],
    pub buffers: usize,
    pub result: Buffer,
}

impl Stages {
    /// What a step moves: each stage reads its source, reads what it overwrites, and writes; a third buffer is read besides.
    /// Sweeps that go together may be of several `steps`.
    pub fn traffic(&self, steps: bool) -> Traffic {
        let is_third = |stage: &&Stage| stage.old != stage.source && stage.old != stage.out;
        let sweeps = self.stages.len();
        Traffic {
            sweeps,
            numbers: 3 * sweeps + self.stages.iter().filter(is_third).count(),
            together: Some(Together { buffers: self.buffers, sweeps: self.rates(), steps }),
        }
    }

    /// How many of the stages compute a rate, for which they read neighbours.
    pub fn rates(&self) -> usize {
        self.stages.iter().filter(|stage| stage.rate != 0.0).count()
    }
}

/// Forward Euler, first order: u¹ = u + dt f(u).
const FORWARD_EULER: Stages = Stages { stages: &[stage(0, 0, 1, [1.0, 0.0, 1.0, 0.0])], buffers: 2, result: 1 };

/// The second-order strong-stability-preserving Runge–Kutta method (Heun).
///
/// # Sources
/// Shu and Osher 1988, doi:10.1016/0021-9991(88)90177-5, eq. 2.16.
const SSP_RK2: Stages = Stages {
    stages: &[stage(0, 0, 1, [1.0, 0.0, 1.0, 0.0]), stage(1, 0, 0, [0.5, 0.5, 0.5, 1.0])],
    buffers: 2,
    result: 0,
};

/// The predictor–corrector method that Athena++ calls VL2: half a step with a rate of first order, and from there the
/// rate of the whole step. With a rate of full order in the predictor, it is the midpoint rule.
///
/// # Sources
/// Stone and Gardiner 2009, doi:10.1016/j.newast.2008.06.003, § 3; van Leer 2006.
const VL2: Stages = Stages {
    stages: &[
        Stage { order: Order::First, ..stage(0, 0, 1, [1.0, 0.0, 0.5, 0.0]) },
        stage(1, 0, 0, [1.0, 0.0, 1.0, 0.5]),
    ],
    buffers: 2,
    result: 0,
};

/// The third-order strong-stability-preserving Runge–Kutta method.
///
/// # Sources
/// Shu and Osher 1988, doi:10.1016/0021-9991(88)90177-5, eq. 2.18.
const SSP_RK3: Stages = Stages {
    stages: &[
        stage(0, 0, 1, [1.0, 0.0, 1.0, 0.0]),
        stage(1, 0, 2, [0.75, 0.25, 0.25, 1.0]),
        stage(2, 0, 0, [1.0 / 3.0, 2.0 / 3.0, 2.0 / 3.0, 0.5]),
    ],
    buffers: 3,
    result: 0,
};

/// The classical fourth-order Runge–Kutta method.
///
/// With a = u + dt/2 k₁, b = u + dt/2 k₂ and c = u + dt k₃, the result u + dt/6 (k₁ + 2 k₂ + 2 k₃ + k₄) is
/// (a + 2 b − u + c)/3 + dt/6 k₄: no buffer has to hold a rate. The two stages without a rate gather a + 2 b − u.
///
/// # Sources
/// Kutta 1901; Butcher 2016, Numerical Methods for Ordinary Differential Equations, doi:10.1002/9781119121534, § 235.
const RK4: Stages = Stages {
    stages: &[
        stage(0, 0, 1, [1.0, 0.0, 0.5, 0.0]),
        stage(1, 0, 2, [1.0, 0.0, 0.5, 0.5]),
        stage(2, 0, 3, [1.0, 0.0, 1.0, 0.5]),
        stage(2, 1, 1, [1.0, 2.0, 0.0, 0.0]),
        stage(1, 0, 0, [-1.0, 1.0, 0.0, 0.0]),
        stage(3, 0, 0, [1.0 / 3.0, 1.0 / 3.0, 1.0 / 6.0, 1.0]),
    ],
    buffers: 4,
    result: 0,
};

/// The stages of an integrator.
pub(super) fn stages(integrator: Integrator) -> Stages {
    match integrator {
        Integrator::ForwardEuler => FORWARD_EULER,
        Integrator::SspRk2 => SSP_RK2,
        Integrator::Vl2 => VL2,
        Integrator::SspRk3 => SSP_RK3,
        Integrator::Rk4 => RK4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Solves du/dt = f(t, u) to time 1 with the tables alone.
    fn solve(integrator: Integrator, steps: usize, f: impl Fn(f64, f64) -> f64) -> f64 {
        let Stages { stages, buffers, result } = stages(integrator);
        let dt = 1.0 / steps as f64;
        let mut u = vec![1.0; buffers];
        for step in 0..steps {
            for s in stages {
                let change =
                    if s.rate == 0.0 { 0.0 } else { dt * s.rate * f((step as f64 + s.when) * dt, u[s.source]) };
                u[s.out] = s.keep * u[s.old] + s.take * u[s.source] + change;
            }
            u.swap(0, result);
        }
        u[0]
    }

    #[test]
    fn a_stage_moves_each_number_that_it_reads_or_writes_and_what_it_overwrites() {
        let traffic = |integrator| {
            let Traffic { sweeps, numbers, .. } = stages(integrator).traffic(false);
            [sweeps, numbers]
        };
        assert_eq!(traffic(Integrator::ForwardEuler), [1, 3]);
        assert_eq!(traffic(Integrator::SspRk2), [2, 6], "the second stage overwrites what it keeps a part of");
        assert_eq!(traffic(Integrator::SspRk3), [3, 10], "the second stage has three buffers");
        assert_eq!(traffic(Integrator::Rk4), [6, 20]);
    }

    #[test]
    fn sweeps_that_go_together_move_each_buffer_once_each_way() {
        let numbers = |integrator, steps, sweeps: [usize; 3]| {
            let Traffic { together, .. } = stages(integrator).traffic(steps);
            sweeps.map(|sweeps| together.unwrap().numbers(sweeps))
        };
        assert_eq!(numbers(Integrator::ForwardEuler, true, [1, 2, 4]), [4.0, 2.0, 1.0]);
        assert_eq!(numbers(Integrator::ForwardEuler, false, [1, 2, 4]), [4.0; 3], "one step at a time");
        assert_eq!(numbers(Integrator::SspRk2, true, [1, 2, 5]), [8.0, 4.0, 2.0], "whole steps go together");
        assert_eq!(numbers(Integrator::SspRk3, false, [2, 3, 6]), [12.0, 6.0, 6.0]);
    }

    #[test]
    fn every_integrator_has_its_order_for_a_rate_that_depends_on_time_and_state() {
        // du/dt = −u + sin t, u(0) = 1.
        let exact = 1.5 * (-1.0f64).exp() + 0.5 * (1.0f64.sin() - 1.0f64.cos());
        let orders = [
            (Integrator::ForwardEuler, 1.0),
            (Integrator::SspRk2, 2.0),
            (Integrator::Vl2, 2.0),
            (Integrator::SspRk3, 3.0),
            (Integrator::Rk4, 4.0),
        ];
        for (integrator, order) in orders {
            let error = |steps| (solve(integrator, steps, |t, u| t.sin() - u) - exact).abs();
            let measured = (error(20) / error(40)).log2();
            assert!((measured - order).abs() < 0.15, "{integrator:?} has order {measured:.3}");
        }
    }
}
