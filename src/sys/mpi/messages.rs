//! Messages to and from neighbours that are in flight while the caller computes.
//!
//! Those to neighbours on the same node may lie in memory that both see ([`Slots`]).
//! [`Messages`] owns its buffers, so that no safe code can touch or free them between start and wait; a drop in between
//! waits first. Buffers, counts and requests are made once: an exchange allocates nothing.

use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::rc::Rc;
use std::sync::atomic::{Ordering, fence};

use bytemuck::Pod;
use mpi::ffi;

use super::slots::Slots;
use super::{Communicator, address, address_mut, check};
use crate::error::{Error, Kind, Result};
use crate::sys::cache::LINE;

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

/// The messages to or from all neighbours in one buffer, each from the beginning of a cache's line.
#[derive(Debug)]
pub(super) struct Layout {
    pub ranks: Vec<c_int>,
    pub counts: Vec<c_int>,
    pub places: Vec<c_int>,
    /// The numbers of the buffer.
    pub total: usize,
}

impl Layout {
    /// The layout of messages of so many numbers of the type `T` to each rank.
    fn new<T>(messages: impl Iterator<Item = (usize, usize)> + Clone) -> Result<Self> {
        let unit = (LINE / size_of::<T>()).max(1);
        let lengths = messages.clone().map(|(_, count)| count.next_multiple_of(unit));
        let total = lengths.clone().sum();
        if c_int::try_from(total).is_err() {
            return Err(Error::new(
                Kind::Case,
                format!("a rank would exchange {total} numbers at once; MPI counts no more than {}", c_int::MAX),
            )
            .hint("use more ranks, or fewer sweeps per exchange"));
        }
        let places = lengths.scan(0, |place, length| Some(std::mem::replace(place, *place + length)));
        Ok(Layout {
            places: places.map(|place| place as c_int).collect(),
            ranks: messages.clone().map(|(rank, _)| rank as c_int).collect(),
            counts: messages.map(|(_, count)| count as c_int).collect(),
            total,
        })
    }

    /// Where a message lies.
    fn range(&self, message: usize) -> Range<usize> {
        let place = self.places[message] as usize;
        place..place + self.counts[message] as usize
    }
}

/// One message to and one from each neighbour, of numbers of the type `T`, as often as it is started.
#[derive(Debug)]
pub(crate) struct Messages<T: Pod> {
    communicator: Rc<Communicator>,
    transport: Transport,
    outgoing: Layout,
    /// How many numbers of each outgoing message MPI moves.
    sent: Vec<c_int>,
    /// What MPI moves of the incoming messages.
    incoming: Layout,
    slots: Option<Slots<T>>,
    /// The outgoing messages, unless they are in slots.
    send: Vec<T>,
    receive: Vec<T>,
    requests: Vec<ffi::MPI_Request>,
    in_flight: bool,
}

impl<T: Pod> Messages<T> {
    /// Prepares messages to and from the given ranks, with so many numbers each; within a node through memory that both
    /// ends see, if they may `share` it and can.
    ///
    /// All ranks must call it, also those without neighbours. An error before the communicator is made is the same on
    /// all ranks if `agree` makes it so.
    pub fn new(
        parent: &Communicator,
        transport: Transport,
        share: bool,
        outgoing: &[(usize, usize)],
        incoming: &[(usize, usize)],
        agree: impl FnOnce(Result<()>) -> Result<()>,
    ) -> Result<Self> {
        let layout = |messages: &[(usize, usize)]| Layout::new::<T>(messages.iter().copied());
        let layouts = layout(outgoing).and_then(|outgoing| Ok((outgoing, layout(incoming)?)));
        agree(layouts.as_ref().map(|_| ()).map_err(Clone::clone))?;
        let (outgoing, incoming) = layouts?;
        let (communicator, requests) = match transport {
            Transport::Neighbourhood => (parent.graph(&incoming.ranks, &outgoing.ranks)?, 1),
            Transport::PointToPoint => (parent.duplicate()?, incoming.ranks.len() + outgoing.ranks.len()),
        };
        let communicator = Rc::new(communicator);
        let slots = if share { Slots::meet(&communicator, &outgoing, &incoming)? } else { None };
        let mut sent = outgoing.counts.clone();
        let mut received = incoming;
        if let Some(slots) = &slots {
            // The first number of a message tells that the others lie in the slot.
            (0..sent.len()).filter(|&message| slots.is_read_here(message)).for_each(|message| sent[message] = 1);
            let count = |message| if slots.lies_there(message) { 1 } else { received.counts[message] as usize };
            let counts = received.ranks.iter().enumerate().map(|(message, &rank)| (rank as usize, count(message)));
            received = Layout::new::<T>(counts)?;
        }
        Ok(Messages {
            communicator,
            transport,
            send: vec![T::zeroed(); if slots.is_some() { 0 } else { outgoing.total }],
            receive: vec![T::zeroed(); received.total],
            outgoing,
            sent,
            incoming: received,
            slots,
            // SAFETY: a constant of the MPI library.
            requests: vec![unsafe { ffi::RSMPI_REQUEST_NULL }; requests],
            in_flight: false,
        })
    }

    /// The message that is sent next to the rank at this place among those given; every time all of it must be written.
    ///
    /// # Panics
    /// If messages are in flight.
    pub fn outgoing(&mut self, message: usize) -> &mut [T] {
        assert!(!self.in_flight, "what is in flight may not be changed");
        let range = self.outgoing.range(message);
        match &mut self.slots {
            Some(slots) => &mut slots.outgoing()[range],
            None => &mut self.send[range],
        }
    }

    /// The message that came last from the rank at this place among those given.
    ///
    /// # Panics
    /// If messages are in flight.
    pub fn incoming(&self, message: usize) -> &[T] {
        assert!(!self.in_flight, "what is in flight may not be read");
        let there = self.slots.as_ref().and_then(|slots| slots.incoming(message));
        there.unwrap_or_else(|| &self.receive[self.incoming.range(message)])
    }

    /// The bytes of all outgoing messages.
    pub fn outgoing_bytes(&self) -> usize {
        self.outgoing.counts.iter().map(|&count| count as usize * size_of::<T>()).sum()
    }

    /// How many of the ranks given read what is sent to them in memory that both see.
    pub fn shared(&self) -> usize {
        let slots = self.slots.iter();
        slots.map(|slots| (0..self.sent.len()).filter(|&message| slots.is_read_here(message)).count()).sum()
    }

    /// Starts all messages.
    ///
    /// # Panics
    /// If messages are in flight.
    pub fn start(&mut self) -> Result<()> {
        assert!(!self.in_flight, "messages are in flight already");
        self.in_flight = true;
        // What lies in slots is there before MPI says so.
        fence(Ordering::Release);
        let send = match &mut self.slots {
            Some(slots) => address(slots.outgoing()),
            None => address(&self.send),
        };
        match self.transport {
            Transport::Neighbourhood => self.start_neighbourhood(send)?,
            Transport::PointToPoint => self.start_point_to_point(send)?,
        }
        self.slots.iter_mut().for_each(Slots::turn);
        Ok(())
    }

    /// Waits for all messages; without messages in flight it returns at once.
    ///
    /// # Errors
    /// If MPI fails; if memory that another rank writes does not hold what it has sent.
    pub fn wait(&mut self) -> Result<()> {
        if !self.in_flight {
            return Ok(());
        }
        let (count, requests) = (self.requests.len() as c_int, self.requests.as_mut_ptr());
        // SAFETY: each request is null or was started on buffers that `self` owns and has not touched since.
        let code = unsafe { ffi::MPI_Waitall(count, requests, ffi::RSMPI_STATUSES_IGNORE) };
        check("MPI_Waitall", code)?;
        self.in_flight = false;
        fence(Ordering::Acquire);
        self.compare_first_numbers()
    }

    /// The first number of each message in a slot has come through MPI as well.
    fn compare_first_numbers(&self) -> Result<()> {
        let Some(slots) = &self.slots else { return Ok(()) };
        for (message, rank) in self.incoming.ranks.iter().enumerate() {
            let told = &self.receive[self.incoming.range(message)];
            let lies = slots.incoming(message).map(|whole| &whole[..1]);
            if lies.is_some_and(|lies| bytemuck::cast_slice::<T, u8>(lies) != bytemuck::cast_slice::<T, u8>(told)) {
                return Err(Error::new(
                    Kind::Mpi,
                    format!("the memory that rank {rank} shares on this node does not hold what it has sent"),
                )
                .hint("let MPI move all messages: run.exchange = \"neighbourhood\""));
            }
        }
        Ok(())
    }

    fn start_neighbourhood(&mut self, send: *const c_void) -> Result<()> {
        let (outgoing, incoming) = (&self.outgoing, &self.incoming);
        // SAFETY: the layouts say how many numbers lie where in the buffers, of which `in_flight` keeps everybody away
        // until the wait, and which have the edges of the communicator; counts and places live as long.
        let code = unsafe {
            ffi::MPI_Ineighbor_alltoallv(
                send,
                self.sent.as_ptr(),
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

    fn start_point_to_point(&mut self, send: *const c_void) -> Result<()> {
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
        let send = send.cast::<T>();
        for (i, request) in sends.iter_mut().enumerate() {
            let (place, count) = (outgoing.places[i] as usize, self.sent[i]);
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
            std::mem::forget(self.slots.take());
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
    fn each_message_begins_with_a_line_of_a_cache() {
        let layout = Layout::new::<f64>([(3, 5), (4, 0), (9, 8), (10, 9)].into_iter()).unwrap();
        assert_eq!((layout.range(0), layout.range(1), layout.range(3)), (0..5, 8..8, 16..25));
        assert_eq!((layout.ranks, layout.counts), (vec![3, 4, 9, 10], vec![5, 0, 8, 9]));
        assert_eq!((layout.places, layout.total), (vec![0, 8, 8, 16], 32));
    }

    #[test]
    fn more_numbers_than_mpi_can_count_are_refused() {
        let error = Layout::new::<u8>([(0, 1 << 30), (1, 1 << 30)].into_iter()).unwrap_err().to_string();
        assert!(error.contains("2147483648 numbers") && error.contains("hint: use more ranks"), "{error}");
    }
}
