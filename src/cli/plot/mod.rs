//! `steadfast plot`: a picture of a field.
mod canvas;
mod colours;
mod picture;
mod preview;
mod resample;
mod ticks;

pub use ticks::number;
