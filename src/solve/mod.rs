//! Implicit steps: systems A x = b for a symmetric positive definite A that is a stencil, and no matrix anywhere.
//!
//! An [`Operator`] says what A does to one cell, from the unknown round it and from coefficients that lie in a field of
//! their own; [`ConjugateGradient`] solves with it. The unknown, the right-hand side and the coefficients stay in the
//! caller's fields.
//!
//! ```text
//!   r = b − A x,  p = z = M⁻¹ r
//!   repeat:  halo of p;  α = r·z / p·A p            one all-reduce     A is swept over cells that wait for
//!            x += α p;   r −= α A p;  z = M⁻¹ r                        no message while messages fly
//!            β = r·z / (r·z before); p = z + β p    one all-reduce     r·r comes along and says when to stop
//! ```
//!
//! *The same bits.* A cell's update reads the same numbers in the same order wherever the cell lies, and each scalar product is
//! an exact sum of rounded products ([`ExactSum`](crate::comm::ExactSum)). So iterations, residual and solution are the same
//! on any number of ranks and with any blocks.
//!
//! *Two all-reduces an iteration.* Variants with one (Chronopoulos & Gear 1989, <https://doi.org/10.1016/0377-0427(89)90045-9>)
//! infer p·A p from other products. Here it is computed: so its sign is a proof that A is not positive definite, and rounding
//! has one recurrence less to spoil.
//!
//! A pass goes slab by slab, and does all that can be done to one while it is in the cache. Nothing is allocated after a solver's birth. A
//! rank solves with one thread: give each core a rank. This room knows nothing of time, checkpoints and programs.
//!
//! # Sources
//! M. R. Hestenes, E. Stiefel, "Methods of conjugate gradients for solving linear systems" (1952),
//! <https://doi.org/10.6028/jres.049.044>; Y. Saad, *Iterative Methods for Sparse Linear Systems*, 2nd ed. (2003), algorithm
//! 9.1, <https://doi.org/10.1137/1.9780898718003>.

mod conjugate_gradient;
mod operator;
mod rows;

pub use conjugate_gradient::{ConjugateGradient, Settings, Solution};
pub use operator::{Operator, Preconditioner};
