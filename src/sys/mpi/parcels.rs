//! Long messages that travel while the caller computes, and that are looked after now and then.
//!
//! [`Parcels`] holds what it sends and receives until it has arrived, so that no safe code can change or free it on the
//! way; a drop in between waits first.

use std::ffi::c_int;
use std::rc::Rc;
use std::sync::Arc;

use mpi::ffi;

use super::{Communicator, check};
use crate::error::Result;

/// The tag of all parcels: the communicator is their own, and two messages between the same ranks never overtake each other.
const TAG: c_int = 0;

/// The most words of one message: a gibibyte, far below what the `int` counts of MPI can say.
const LARGEST_MESSAGE: usize = 1 << 27;

/// Buffers on their way to other ranks, and those of other ranks on their way here.
#[derive(Debug)]
pub(crate) struct Parcels {
    /// Freed only after the last message that uses it.
    _communicator: Rc<Communicator>,
    /// Shared, so that it can be read meanwhile, and nobody can change it.
    outgoing: Vec<Arc<Vec<u64>>>,
    incoming: Vec<Vec<u64>>,
    requests: Vec<ffi::MPI_Request>,
}

impl Parcels {
    /// Sends words to ranks, and fills each of the other buffers with what its rank sends here, of the same length.
    ///
    /// Each rank must have begun the same parcels on the same communicator before it begins the next.
    pub fn start(
        communicator: &Rc<Communicator>,
        outgoing: Vec<(usize, Arc<Vec<u64>>)>,
        incoming: Vec<(usize, Vec<u64>)>,
    ) -> Result<Self> {
        let (from, incoming): (Vec<_>, Vec<_>) = incoming.into_iter().unzip();
        let (to, outgoing): (Vec<_>, Vec<_>) = outgoing.into_iter().unzip();
        let mut parcels = Parcels { _communicator: Rc::clone(communicator), outgoing, incoming, requests: Vec::new() };
        // SAFETY: a constant of the MPI library.
        let unit = unsafe { ffi::RSMPI_UINT64_T };
        for (rank, buffer) in from.into_iter().zip(&mut parcels.incoming) {
            for part in buffer.chunks_mut(LARGEST_MESSAGE) {
                let (place, count) = (part.as_mut_ptr().cast(), part.len() as c_int);
                let request = push_null(&mut parcels.requests);
                // SAFETY: `count` words lie there; the buffer is in `parcels`, which neither moves its contents nor lets
                // anybody touch them before the request is done.
                let code =
                    unsafe { ffi::MPI_Irecv(place, count, unit, rank as c_int, TAG, communicator.raw(), request) };
                check("MPI_Irecv", code)?;
            }
        }
        for (rank, buffer) in to.into_iter().zip(&parcels.outgoing) {
            for part in buffer.chunks(LARGEST_MESSAGE) {
                let (place, count) = (part.as_ptr().cast(), part.len() as c_int);
                let request = push_null(&mut parcels.requests);
                // SAFETY: `count` words lie there; `parcels` shares the buffer until the request is done, and what is shared
                // is not changed.
                let code =
                    unsafe { ffi::MPI_Isend(place, count, unit, rank as c_int, TAG, communicator.raw(), request) };
                check("MPI_Isend", code)?;
            }
        }
        Ok(parcels)
    }

    /// Whether all of them have arrived; never waits, and helps them on.
    pub fn have_arrived(&mut self) -> Result<bool> {
        let mut done = 0;
        let (count, requests) = (self.requests.len() as c_int, self.requests.as_mut_ptr());
        // SAFETY: each request is null or was started on buffers that `self` holds; `done` outlives the call.
        let code = unsafe { ffi::MPI_Testall(count, requests, &raw mut done, ffi::RSMPI_STATUSES_IGNORE) };
        check("MPI_Testall", code)?;
        if done != 0 {
            self.requests.clear();
        }
        Ok(done != 0)
    }

    /// Waits for all of them and gives the received buffers, in the order in which they were given.
    pub fn receive(mut self) -> Result<Vec<Vec<u64>>> {
        self.wait()?;
        Ok(std::mem::take(&mut self.incoming))
    }

    fn wait(&mut self) -> Result<()> {
        let (count, requests) = (self.requests.len() as c_int, self.requests.as_mut_ptr());
        // SAFETY: each request is null or was started on buffers that `self` holds.
        check("MPI_Waitall", unsafe { ffi::MPI_Waitall(count, requests, ffi::RSMPI_STATUSES_IGNORE) })?;
        self.requests.clear();
        Ok(())
    }
}

impl Drop for Parcels {
    fn drop(&mut self) {
        if !self.requests.is_empty() && (std::thread::panicking() || self.wait().is_err()) {
            // MPI may still use the buffers: they must outlive it.
            std::mem::forget(std::mem::take(&mut self.outgoing));
            std::mem::forget(std::mem::take(&mut self.incoming));
        }
    }
}

/// Room for one more request.
fn push_null(requests: &mut Vec<ffi::MPI_Request>) -> &mut ffi::MPI_Request {
    // SAFETY: a constant of the MPI library.
    requests.push(unsafe { ffi::RSMPI_REQUEST_NULL });
    requests.last_mut().expect("one was just pushed")
}
