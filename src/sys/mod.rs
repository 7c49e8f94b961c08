//! The one unsafe room: what C libraries and the operating system offer, behind owners and checked return codes.
//!
//! Each unsafe block here is one call or one invariant, and says who guarantees it. Each handle has one owner that frees
//! it. Each return code is checked and becomes an [`Error`](crate::Error). Nothing of this room is in a public
//! signature; the rooms above wrap it in their own words.
#![allow(unsafe_code)]

pub(crate) mod cache;
pub(crate) mod direct;
pub(crate) mod files;
pub(crate) mod hdf5;
pub(crate) mod mpi;
pub(crate) mod overhear;
pub(crate) mod pages;
pub(crate) mod process;
pub(crate) mod shared;
