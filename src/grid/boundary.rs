//! What lies beyond the domain's outer faces.

use serde::{Deserialize, Serialize};

use super::{Axis, Side};

/// How the ghosts beyond one outer face of the domain follow from the cells within.
///
/// Below, u₀, u₁, … are the cells inward from the face, ghost k is the one as far outside as uₖ is inside, and h is the
/// spacing across the face. Values have one entry a component of the record, in the component's unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Boundary {
    /// The value at the face is v: ghost k is 2v − uₖ; for integers it is v itself.
    FixedValue(Vec<f64>),
    /// The outward normal derivative at the face is g (unit: the component's over m): ghost k is uₖ + g (2k + 1) h.
    FixedGradient(Vec<f64>),
    /// What is within flows out: every ghost is u₀.
    Outflow,
    /// The face is a mirror: ghost k is uₖ, and the part of a vector across the face changes its sign.
    Reflecting,
}

/// The boundaries on all faces of the domain; those along periodic axes are ignored.
#[derive(Debug, Clone, PartialEq)]
pub struct Boundaries<const N: usize> {
    /// By axis, then low and high side.
    pub faces: [[Boundary; 2]; N],
}

impl<const N: usize> Boundaries<N> {
    /// The same boundary on every face.
    pub fn all(boundary: Boundary) -> Self {
        Boundaries { faces: std::array::from_fn(|_| [boundary.clone(), boundary.clone()]) }
    }

    /// The boundary on one face.
    pub fn face(&self, axis: Axis<N>, side: Side) -> &Boundary {
        &self.faces[axis.index()][side as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_are_ordered_by_axis_and_then_low_before_high() {
        let mut boundaries = Boundaries::<2>::all(Boundary::Outflow);
        boundaries.faces[1][1] = Boundary::Reflecting;
        assert_eq!(boundaries.face(Axis::new(1), Side::High), &Boundary::Reflecting);
        assert_eq!(boundaries.face(Axis::new(1), Side::Low), &Boundary::Outflow);
    }
}
