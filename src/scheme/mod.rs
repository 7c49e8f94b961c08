//! Finite volumes: how a conservation law ∂u/∂t + ∇·F(u) = S becomes the rate of change of a cell.
//!
//! ```text
//!          cell i−1          face           cell i                 duᵢ      F(low face) − F(high face)
//!   ┌────────────────────┐    │    ┌────────────────────┐          ─── = Σ ─────────────────────────── + S(uᵢ)
//!   │                 w⁻ ├───►│◄───┤ w⁺                 │          dt   a             h_a
//!   │  uᵢ₋₁ → wᵢ₋₁       │  F │    │       wᵢ ← uᵢ      │
//!   └────────────────────┘    │    └────────────────────┘
//! ```
//!
//! 1. The conserved means u of the cells become primitive ones w ([`ConservationLaw::primitive`]).
//! 2. The [`Reconstruction`] gives each cell a profile, and with it a state on either side of each face: w⁻ and w⁺.
//! 3. A [`Riemann`] solver makes one flux of the two ([`ConservationLaw::flux`]).
//! 4. Each cell gains what flows in and loses what flows out; what leaves one cell enters the next, so that the sum over a
//!    closed domain stays the same to rounding.
//!
//! A law is a handful of pointwise functions; the [`Scheme`] comes from the case file; [`sweep_law`] is the pass of both
//! over a region, in one, two or three dimensions. What a cell gets is a function of the cells within the scheme's reach
//! alone, with the same bits in any region of any block. Mirror images of a state evolve to mirror images, bit by bit.
//!
//! This room does not know what time integrator asks for the rates, who owns the blocks, or where a ghost's value came
//! from. Read [`ConservationLaw`] first, then `sweep.rs`, `faces.rs`, `riemann.rs` and `reconstruct.rs`, then
//! [`crate::sim`].

mod choice;
mod edge;
mod edge_ppm;
mod edge_weno;
mod faces;
mod law;
mod reconstruct;
mod riemann;
mod scratch;
mod sweep;

#[cfg(test)]
mod gas;

pub use choice::{Limiter, Reconstruction, Riemann, Scheme};
pub use law::ConservationLaw;
pub use scratch::{MOST_COMPONENTS, Scratch};
pub use sweep::{Combine, sweep_law};
