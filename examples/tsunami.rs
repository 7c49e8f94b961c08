//! A tsunami: the shallow-water equations over a sea floor b, ∂η/∂t + ∇·m = 0, ∂m/∂t + ∇·(m⊗v + ½gh²) = −gh∇b, with the
//! level η, the depth h = η − b and the discharge m = hv. Water comes to dry land, and leaves it; a lake at rest rests.
use steadfast::prelude::*;

steadfast::record! {
    struct Sea<N>: f64 {
        level: f64 = "m",
        discharge: Vector<N> = "m²/s",
        floor: f64 = "m",
    }
}

steadfast::record! {
    struct Flow<N>: f64 {
        level: f64 = "m",
        depth: f64 = "m",
        velocity: Vector<N> = "m/s",
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tsunami {
    /// Acceleration of gravity g, m/s².
    gravity: f64,
    /// Where the sea floor is, m above sea level, unless the case takes it from a dataset.
    floor: f64,
    /// Height of the first wave, m.
    height: f64,
    /// Its half width, m.
    width: f64,
    /// Where its middle is, m.
    centre: [f64; 2],
}

/// Films of water thinner than this do not move, m.
const THIN: f64 = 1e-3;

impl Tsunami {
    fn celerity<const N: usize>(&self, w: Flow<N>) -> f64 {
        (self.gravity * w.depth).sqrt()
    }

    /// ½g(h₁ + h₂)(η₁ − η₂), the weight of the water between two places: zero wherever the level is the same.
    fn weight<const N: usize>(&self, to: Flow<N>, from: Flow<N>) -> f64 {
        0.5 * self.gravity * (to.depth + from.depth) * (to.level - from.level)
    }
}

impl ConservationLaw<2> for Tsunami {
    type State = Sea<2>;
    type Primitive = Flow<2>;

    fn initial(&self, x: Vector<2>) -> Sea<2> {
        let distance = (x - Vector(self.centre)).norm_squared() / (self.width * self.width);
        Sea { level: self.height * (-distance).exp(), discharge: Vector::ZERO, floor: self.floor }
    }

    /// Land is dry: its level is that of the ground.
    fn settle(&self, u: Sea<2>) -> Sea<2> {
        Sea { level: u.level.max(u.floor), ..u }
    }

    fn primitive(&self, u: Sea<2>) -> Flow<2> {
        let level = if u.level > u.floor { u.level } else { u.floor };
        let depth = level - u.floor;
        let per_depth = if depth > THIN { 1.0 / depth } else { 0.0 };
        Flow { level, depth, velocity: u.discharge * per_depth }
    }

    fn conserved(&self, w: Flow<2>) -> Sea<2> {
        Sea { level: w.level, discharge: w.depth * w.velocity, floor: w.level - w.depth }
    }

    fn flux(&self, w: Flow<2>, axis: Axis<2>) -> Sea<2> {
        let (discharge, v) = (w.depth * w.velocity, w.velocity[axis]);
        let pressure = 0.5 * self.gravity * w.depth * w.depth;
        Sea { level: discharge[axis], discharge: v * discharge + pressure * Vector::unit(axis), floor: 0.0 }
    }

    fn speeds(&self, w: Flow<2>, axis: Axis<2>) -> [f64; 2] {
        let c = self.celerity(w);
        [w.velocity[axis] - c, w.velocity[axis] + c]
    }

    /// Into dry land a front runs with twice the celerity (Toro 2001, Shock-capturing methods for free-surface flows).
    fn fan(&self, [low, high]: [Flow<2>; 2], axis: Axis<2>) -> [f64; 2] {
        let (c, d) = (self.celerity(low), self.celerity(high));
        let (v, w) = (low.velocity[axis], high.velocity[axis]);
        let (slowest, fastest) = ((v - c).min(w - d), (v + c).max(w + d));
        let wet = if low.depth > 0.0 { [slowest, fastest] } else { [w - 2.0 * d, w + d] };
        if high.depth > 0.0 { wet } else { [v - c, v + 2.0 * c] }
    }

    fn admissible(&self, w: Flow<2>) -> bool {
        w.depth >= 0.0
    }

    /// Hydrostatic reconstruction (Audusse et al. 2004, doi:10.1137/S1064827503431090): the higher floor of both sides is a
    /// sill; water above it flows, and pushes by what the flux has beyond the resting pressure on its side.
    fn face(
        &self,
        cells: [Flow<2>; 2],
        faces: [Flow<2>; 2],
        axis: Axis<2>,
        solve: impl Fn([Flow<2>; 2]) -> Sea<2>,
    ) -> [Sea<2>; 2] {
        let (below, above) = (faces[0].level - faces[0].depth, faces[1].level - faces[1].depth);
        let sill = if below > above { below } else { above };
        let over = |w: Flow<2>| {
            let depth = if w.level > sill { w.level - sill } else { 0.0 };
            Flow { level: depth, depth, velocity: w.velocity }
        };
        let (low, high) = (over(faces[0]), over(faces[1]));
        let flux = solve([low, high]);
        let seen = |w: Flow<2>, face: Flow<2>, cell: Flow<2>| {
            let rest = self.weight(face, cell) - 0.5 * self.gravity * w.depth * w.depth;
            Sea { discharge: flux.discharge + rest * Vector::unit(axis), ..flux }
        };
        [seen(low, faces[0], cells[0]), seen(high, faces[1], cells[1])]
    }

    fn derived() -> Vec<Component> {
        vec![Component::scalar("depth", "m"), Component::scalar("speed", "m/s"), Component::scalar("wave", "m")]
    }

    /// The wave is the level of the sea; on dry land there is none.
    fn derive(&self, u: Sea<2>, mut put: impl FnMut(usize, f64)) {
        let w = self.primitive(u);
        put(0, w.depth);
        put(1, w.velocity.norm());
        put(2, if w.depth > THIN { w.level } else { f64::NAN });
    }
}

fn main() -> ExitCode {
    steadfast::main_law_in::<Tsunami, 2>()
}
