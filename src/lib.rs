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

pub use cli::program::{main, main_in};
pub use error::{Error, Result};

/// What a model program needs: `use steadfast::prelude::*`.
pub mod prelude {
    pub use std::process::ExitCode;

    pub use serde::Deserialize;

    pub use crate::error::{Error, Result};
    pub use crate::field::{Component, Record, Stencil};
    pub use crate::grid::{Axis, Cell, Offset, Vector, random};
    pub use crate::record;
    pub use crate::sim::Model;
}
