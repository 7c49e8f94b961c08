//! Steadfast: block-structured simulations on MPI that keep going when machines do not.

pub mod checkpoint;
pub mod cli;
pub mod comm;
pub mod config;
pub mod error;
pub mod field;
pub mod grid;
pub mod halo;
pub mod rundir;
pub mod sim;
pub mod supervise;
mod sys;

pub use error::{Error, Result};
