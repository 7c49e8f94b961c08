//! Messages to and from neighbours that are in flight while the caller computes.
//!
//! [`Messages`] owns its buffers, so that no safe code can touch or free them between start and wait; a drop in between
//! waits first. Buffers, counts and requests are made once: an exchange allocates nothing.

use std::ffi::c_int;

use bytemuck::Pod;
use mpi::ffi;

use super::{Communicator, address, address_mut, check};
use crate::error::{Error, Kind, Result};

/// The tag of all messages: the communicator is their own.
const TAG: c_int = 0;

/// How messages travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    /// One neighbourhood collective on a graph communicator. Never a Cartesian one, whose neighbourhood collectives give
    /// wrong data along periodic axes of one or two ranks (Open MPI 4.1.4, MPICH 4.0.2; mpi-forum/mpi-issues#153).
    Neighbourhood,
    /// A send and a receive a neighbour.
    PointToPoint,
}

/// The counts of the messages to or from all neighbours, back to back in one buffer.
#[derive(Debug)]
struct Layout {
    ranks: Vec<c_int>,
    counts: Vec<c_int>,
    places: Vec<c_int>,
    total: usize,
}

impl Layout {
    /// The layout of messages of so many numbers to each rank.
    fn new(messages: &[(usize, usize)]) -> Result<Self> {
        let total = messages.iter().map(|&(_, count)| count).sum();
        if c_int::try_from(total).is_err() {
            return Err(Error::new(
                Kind::Case,
                format!("a rank would exchange {total} numbers at once; MPI counts no more than {}", c_int::MAX),
            )
            .hint("use more ranks, or fewer sweeps per exchange"));
        }
        let places = messages.iter().scan(0, |place, &(_, count)| Some(std::mem::replace(place, *place + count)));
        Ok(Layout {
            places: places.map(|place| place as c_int).collect(),
            ranks: messages.iter().map(|&(rank, _)| rank as c_int).collect(),
            counts: messages.iter().map(|&(_, count)| count as c_int).collect(),
            total,
        })
    }
}

/// One message to and one from each neighbour, of numbers of the type `T`, as often as it is started.
#[derive(Debug)]
pub(crate) struct Messages<T: Pod> {
    communicator: Communicator,
    transport: Transport,
    outgoing: Layout,
    incoming: Layout,
    send: Vec<T>,
    receive: Vec<T>,
    requests: Vec<ffi::MPI_Request>,
    in_flight: bool,
}

impl<T: Pod> Messages<T> {
    /// Prepares messages to and from the given ranks, with so many numbers each.
    ///
    /// All ranks must call it, also those without neighbours. An error before the communicator is made is the same on
    /// all ranks if `agree` makes it so.
    pub fn new(
        parent: &Communicator,
        transport: Transport,
        outgoing: &[(usize, usize)],
        incoming: &[(usize, usize)],
        agree: impl FnOnce(Result<()>) -> Result<()>,
    ) -> Result<Self> {
        let layouts = Layout::new(outgoing).and_then(|outgoing| Ok((outgoing, Layout::new(incoming)?)));
        agree(layouts.as_ref().map(|_| ()).map_err(Clone::clone))?;
        let (outgoing, incoming) = layouts?;
        let (communicator, requests) = match transport {
            Transport::Neighbourhood => (parent.graph(&incoming.ranks, &outgoing.ranks)?, 1),
            Transport::PointToPoint => (parent.duplicate()?, incoming.ranks.len() + outgoing.ranks.len()),
        };
        Ok(Messages {
            communicator,
            transport,
            send: vec![T::zeroed(); outgoing.total],
            receive: vec![T::zeroed(); incoming.total],
            outgoing,
            incoming,
            // SAFETY: a constant of the MPI library.
            requests: vec![unsafe { ffi::RSMPI_REQUEST_NULL }; requests],
            in_flight: false,
        })
    }

    /// What is sent next: the messages back to back, in the order of the ranks given.
    ///
    /// # Panics
    /// If messages are in flight.
    pub fn outgoing(&mut self) -> &mut [T] {
        assert!(!self.in_flight, "what is in flight may not be changed");
        &mut self.send
    }

    /// What came last: the messages back to back, in the order of the ranks given.
    ///
    /// # Panics
    /// If messages are in flight.
    pub fn incoming(&self) -> &[T] {
        assert!(!self.in_flight, "what is in flight may not be read");
        &self.receive
    }

    /// Starts all messages.
    ///
    /// # Panics
    /// If messages are in flight.
    pub fn start(&mut self) -> Result<()> {
        assert!(!self.in_flight, "messages are in flight already");
        self.in_flight = true;
        match self.transport {
            Transport::Neighbourhood => self.start_neighbourhood(),
            Transport::PointToPoint => self.start_point_to_point(),
        }
    }

    /// Waits for all messages; without messages in flight it returns at once.
    pub fn wait(&mut self) -> Result<()> {
        if !self.in_flight {
            return Ok(());
        }
        let (count, requests) = (self.requests.len() as c_int, self.requests.as_mut_ptr());
        // SAFETY: each request is null or was started on buffers that `self` owns and has not touched since.
        let code = unsafe { ffi::MPI_Waitall(count, requests, ffi::RSMPI_STATUSES_IGNORE) };
        check("MPI_Waitall", code)?;
        self.in_flight = false;
        Ok(())
    }

    fn start_neighbourhood(&mut self) -> Result<()> {
        let (outgoing, incoming) = (&self.outgoing, &self.incoming);
        // SAFETY: the layouts say how many numbers lie where in the buffers, of which `in_flight` keeps everybody away
        // until the wait, and which have the edges of the communicator; counts and places live as long.
        let code = unsafe {
            ffi::MPI_Ineighbor_alltoallv(
                address(&self.send),
                outgoing.counts.as_ptr(),
                outgoing.places.as_ptr(),
                unit::<T>(),
                address_mut(&mut self.receive),
                incoming.counts.as_ptr(),
                incoming.places.as_ptr(),
                unit::<T>(),
                self.communicator.raw(),
                &raw mut self.requests[0],
            )
        };
        check("MPI_Ineighbor_alltoallv", code)
    }

    fn start_point_to_point(&mut self) -> Result<()> {
        let (receives, sends) = self.requests.split_at_mut(self.incoming.ranks.len());
        let (raw, incoming, outgoing) = (self.communicator.raw(), &self.incoming, &self.outgoing);
        let receive = self.receive.as_mut_ptr();
        for (i, request) in receives.iter_mut().enumerate() {
            let (place, count) = (incoming.places[i] as usize, incoming.counts[i]);
            // SAFETY: `count` numbers from `place` on lie in the buffer, of which `in_flight` keeps everybody away until
            // the wait; no two messages share one.
            let code = unsafe {
                ffi::MPI_Irecv(receive.add(place).cast(), count, unit::<T>(), incoming.ranks[i], TAG, raw, request)
            };
            check("MPI_Irecv", code)?;
        }
        let send = self.send.as_ptr();
        for (i, request) in sends.iter_mut().enumerate() {
            let (place, count) = (outgoing.places[i] as usize, outgoing.counts[i]);
            // SAFETY: as above.
            let code = unsafe {
                ffi::MPI_Isend(send.add(place).cast(), count, unit::<T>(), outgoing.ranks[i], TAG, raw, request)
            };
            check("MPI_Isend", code)?;
        }
        Ok(())
    }
}

impl<T: Pod> Drop for Messages<T> {
    fn drop(&mut self) {
        if self.in_flight && (std::thread::panicking() || self.wait().is_err()) {
            // MPI may still use the buffers: they must outlive it.
            std::mem::forget(std::mem::take(&mut self.send));
            std::mem::forget(std::mem::take(&mut self.receive));
        }
    }
}

/// The datatype that moves a number of the type `T` bit by bit.
fn unit<T: Pod>() -> ffi::MPI_Datatype {
    const { assert!(matches!(size_of::<T>(), 1 | 2 | 4 | 8), "numbers have 1, 2, 4 or 8 bytes") };
    // SAFETY: constants of the MPI library.
    unsafe {
        match size_of::<T>() {
            1 => ffi::RSMPI_UINT8_T,
            2 => ffi::RSMPI_UINT16_T,
            4 => ffi::RSMPI_UINT32_T,
            _ => ffi::RSMPI_UINT64_T,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_lie_back_to_back() {
        let layout = Layout::new(&[(3, 5), (4, 0), (9, 2)]).unwrap();
        assert_eq!((layout.ranks, layout.counts), (vec![3, 4, 9], vec![5, 0, 2]));
        assert_eq!((layout.places, layout.total), (vec![0, 5, 5], 7));
    }

    #[test]
    fn more_numbers_than_mpi_can_count_are_refused() {
        let error = Layout::new(&[(0, 1 << 30), (1, 1 << 30)]).unwrap_err().to_string();
        assert!(error.contains("2147483648 numbers") && error.contains("hint: use more ranks"), "{error}");
    }
}
