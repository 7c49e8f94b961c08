//! A communicator and its blocking collectives.

use std::ffi::c_int;
use std::rc::Rc;

use bytemuck::Pod;
use mpi::ffi;

use super::{Environment, address, address_mut, check};
use crate::error::Result;

/// The most numbers that one reduction call takes; they lie on the stack, so that a reduction allocates nothing.
const REDUCED_AT_ONCE: usize = 1024;

/// The most bytes that one broadcast or gather call moves: far below what the `int` counts of MPI can say.
const MOVED_AT_ONCE: usize = 1 << 24;

/// How a reduction combines two numbers.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Operation {
    Min,
    Max,
    Sum,
}

/// A number that MPI can reduce exactly, in any order.
pub(crate) trait Reduced: Pod {
    fn datatype() -> ffi::MPI_Datatype;
}

impl Reduced for i64 {
    fn datatype() -> ffi::MPI_Datatype {
        // SAFETY: a constant of the MPI library.
        unsafe { ffi::RSMPI_INT64_T }
    }
}

impl Reduced for u64 {
    fn datatype() -> ffi::MPI_Datatype {
        // SAFETY: a constant of the MPI library.
        unsafe { ffi::RSMPI_UINT64_T }
    }
}

/// A communicator of our own, freed when dropped; errors come back as codes.
#[derive(Debug)]
pub(crate) struct Communicator {
    raw: ffi::MPI_Comm,
    rank: usize,
    size: usize,
    environment: Rc<Environment>,
}

impl Communicator {
    /// A duplicate of the world, so that our messages never meet those of another library.
    pub fn world(environment: &Rc<Environment>) -> Result<Self> {
        Self::create(environment, "MPI_Comm_dup", |new| {
            // SAFETY: MPI is running; `new` outlives the call.
            unsafe { ffi::MPI_Comm_dup(ffi::RSMPI_COMM_WORLD, new) }
        })
    }

    /// A duplicate of this communicator.
    pub fn duplicate(&self) -> Result<Self> {
        Self::create(&self.environment, "MPI_Comm_dup", |new| {
            // SAFETY: `raw` lives as long as `self`; `new` outlives the call.
            unsafe { ffi::MPI_Comm_dup(self.raw, new) }
        })
    }

    /// The ranks of this communicator that share a node's memory with the caller.
    pub fn of_node(&self) -> Result<Self> {
        Self::create(&self.environment, "MPI_Comm_split_type", |new| {
            // SAFETY: `raw` lives as long as `self`; the type and the info are constants; `new` outlives the call.
            unsafe {
                ffi::MPI_Comm_split_type(
                    self.raw,
                    ffi::RSMPI_COMM_TYPE_SHARED,
                    self.rank as c_int,
                    ffi::RSMPI_INFO_NULL,
                    new,
                )
            }
        })
    }

    /// A communicator whose neighbourhood collectives receive from `sources` and send to `destinations`.
    pub fn graph(&self, sources: &[c_int], destinations: &[c_int]) -> Result<Self> {
        Self::create(&self.environment, "MPI_Dist_graph_create_adjacent", |new| {
            // SAFETY: the lists have the lengths that are passed with them; every rank passes MPI_UNWEIGHTED.
            unsafe {
                ffi::MPI_Dist_graph_create_adjacent(
                    self.raw,
                    sources.len() as c_int,
                    sources.as_ptr(),
                    ffi::RSMPI_UNWEIGHTED(),
                    destinations.len() as c_int,
                    destinations.as_ptr(),
                    ffi::RSMPI_UNWEIGHTED(),
                    ffi::RSMPI_INFO_NULL,
                    0,
                    new,
                )
            }
        })
    }

    fn create(
        environment: &Rc<Environment>,
        call: &str,
        make: impl FnOnce(*mut ffi::MPI_Comm) -> c_int,
    ) -> Result<Self> {
        // SAFETY: a constant of the MPI library.
        let mut raw = unsafe { ffi::RSMPI_COMM_NULL };
        check(call, make(&raw mut raw))?;
        let mut new = Communicator { raw, rank: 0, size: 0, environment: Rc::clone(environment) };
        let (mut rank, mut size) = (0, 0);
        // SAFETY: `raw` was created above; the handler is a constant.
        check("MPI_Comm_set_errhandler", unsafe { ffi::MPI_Comm_set_errhandler(raw, ffi::RSMPI_ERRORS_RETURN) })?;
        // SAFETY: `raw` was created above; `rank` outlives the call.
        check("MPI_Comm_rank", unsafe { ffi::MPI_Comm_rank(raw, &raw mut rank) })?;
        // SAFETY: `raw` was created above; `size` outlives the call.
        check("MPI_Comm_size", unsafe { ffi::MPI_Comm_size(raw, &raw mut size) })?;
        (new.rank, new.size) = (rank as usize, size as usize);
        Ok(new)
    }

    pub fn rank(&self) -> usize {
        self.rank
    }

    pub fn size(&self) -> usize {
        self.size
    }

    pub(super) fn raw(&self) -> ffi::MPI_Comm {
        self.raw
    }

    /// Waits until every rank is here.
    pub fn barrier(&self) -> Result<()> {
        // SAFETY: `raw` lives as long as `self`.
        check("MPI_Barrier", unsafe { ffi::MPI_Barrier(self.raw) })
    }

    /// Replaces each number by its minimum, maximum or sum over the ranks, which all pass equally many.
    pub fn all_reduce<T: Reduced>(&self, values: &mut [T], operation: Operation) -> Result<()> {
        // SAFETY: constants of the MPI library.
        let operation = unsafe {
            match operation {
                Operation::Min => ffi::RSMPI_MIN,
                Operation::Max => ffi::RSMPI_MAX,
                Operation::Sum => ffi::RSMPI_SUM,
            }
        };
        let mut own = [T::zeroed(); REDUCED_AT_ONCE];
        for part in values.chunks_mut(REDUCED_AT_ONCE) {
            own[..part.len()].copy_from_slice(part);
            let (send, receive, count) = (own.as_ptr().cast(), part.as_mut_ptr().cast(), part.len() as c_int);
            // SAFETY: both buffers hold `count` numbers of the datatype and do not overlap.
            let code = unsafe { ffi::MPI_Allreduce(send, receive, count, T::datatype(), operation, self.raw) };
            check("MPI_Allreduce", code)?;
        }
        Ok(())
    }

    /// Copies the root's bytes to all ranks, which all pass equally many.
    pub fn broadcast(&self, root: usize, bytes: &mut [u8]) -> Result<()> {
        for part in bytes.chunks_mut(MOVED_AT_ONCE) {
            let (buffer, count) = (part.as_mut_ptr().cast(), part.len() as c_int);
            // SAFETY: the buffer holds `count` bytes.
            let code = unsafe { ffi::MPI_Bcast(buffer, count, ffi::RSMPI_UINT8_T, root as c_int, self.raw) };
            check("MPI_Bcast", code)?;
        }
        Ok(())
    }

    /// The bytes of each rank, on the root alone or, without a root, on all ranks; elsewhere nothing, and no list of ranks.
    ///
    /// They come in rounds of equal size, so that counts and places stay small however much there is.
    pub fn gather(&self, root: Option<usize>, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let lengths = self.gather_lengths(root, bytes.len())?;
        let mut longest = [bytes.len() as u64];
        self.all_reduce(&mut longest, Operation::Max)?;
        let longest = longest[0] as usize;
        let mut gathered: Vec<Vec<u8>> = lengths.iter().map(|&n| Vec::with_capacity(n)).collect();
        let share = (MOVED_AT_ONCE / self.size).clamp(1, longest.max(1));
        let places: Vec<c_int> = (0..lengths.len()).map(|rank| (rank * share) as c_int).collect();
        let mut round = vec![0u8; lengths.len() * share];
        for from in (0..longest).step_by(share) {
            let counts: Vec<c_int> = lengths.iter().map(|n| n.saturating_sub(from).min(share) as c_int).collect();
            let own = &bytes[from.min(bytes.len())..(from + share).min(bytes.len())];
            self.gather_round(root, own, &mut round, &counts, &places)?;
            for (rank, part) in gathered.iter_mut().enumerate() {
                part.extend_from_slice(&round[rank * share..][..counts[rank] as usize]);
            }
        }
        Ok(root.is_none_or(|root| root == self.rank).then_some(gathered))
    }

    /// How many numbers each rank sends here, told by them; `lengths` says how many go to each of them.
    pub fn all_to_all_lengths(&self, lengths: &[u64]) -> Result<Vec<u64>> {
        assert_eq!(lengths.len(), self.size, "there is a length for each rank");
        let mut incoming = vec![0u64; self.size];
        let (send, receive, word) = (lengths.as_ptr().cast(), incoming.as_mut_ptr().cast(), u64::datatype());
        // SAFETY: one word goes to each rank, and there is room for one of each.
        check("MPI_Alltoall", unsafe { ffi::MPI_Alltoall(send, 1, word, receive, 1, word, self.raw) })?;
        Ok(incoming)
    }

    /// Sends to each rank its bytes, and fills what each rank sends here; both ends know the lengths.
    ///
    /// They go in rounds of equal size, so that counts and places stay small however much there is.
    pub fn all_to_all(&self, outgoing: &[&[u8]], incoming: &mut [&mut [u8]]) -> Result<()> {
        assert!(outgoing.len() == self.size && incoming.len() == self.size, "there are bytes for each rank");
        let mut longest = [outgoing.iter().map(|bytes| bytes.len()).max().unwrap_or(0) as u64];
        self.all_reduce(&mut longest, Operation::Max)?;
        let longest = longest[0] as usize;
        let share = (MOVED_AT_ONCE / self.size).clamp(1, longest.max(1));
        let places: Vec<c_int> = (0..self.size).map(|rank| (rank * share) as c_int).collect();
        let (mut send, mut receive) = (vec![0u8; self.size * share], vec![0u8; self.size * share]);
        for from in (0..longest).step_by(share) {
            let part = |length: usize| from.min(length)..(from + share).min(length);
            let count = |length: usize| part(length).len() as c_int;
            for (bytes, round) in outgoing.iter().zip(send.chunks_exact_mut(share)) {
                let bytes = &bytes[part(bytes.len())];
                round[..bytes.len()].copy_from_slice(bytes);
            }
            let sent: Vec<c_int> = outgoing.iter().map(|bytes| count(bytes.len())).collect();
            let received: Vec<c_int> = incoming.iter().map(|bytes| count(bytes.len())).collect();
            // SAFETY: both buffers have room for a share of each rank at its place, and no count is larger; what a rank
            // receives from another is what that one sends, as both know the lengths.
            let code = unsafe {
                let byte = ffi::RSMPI_UINT8_T;
                ffi::MPI_Alltoallv(
                    send.as_ptr().cast(),
                    sent.as_ptr(),
                    places.as_ptr(),
                    byte,
                    receive.as_mut_ptr().cast(),
                    received.as_ptr(),
                    places.as_ptr(),
                    byte,
                    self.raw,
                )
            };
            check("MPI_Alltoallv", code)?;
            for (bytes, round) in incoming.iter_mut().zip(receive.chunks_exact(share)) {
                let part = part(bytes.len());
                let length = part.len();
                bytes[part].copy_from_slice(&round[..length]);
            }
        }
        Ok(())
    }

    fn gather_round(
        &self,
        root: Option<usize>,
        own: &[u8],
        all: &mut [u8],
        counts: &[c_int],
        places: &[c_int],
    ) -> Result<()> {
        let (send, count, receive) = (address(own), own.len() as c_int, address_mut(all));
        let (counts, places) = (counts.as_ptr(), places.as_ptr());
        // SAFETY: a constant of the MPI library.
        let byte = unsafe { ffi::RSMPI_UINT8_T };
        match root {
            // SAFETY: `own` holds `count` bytes, `all` room for every rank's count at its place, where it is received.
            None => check("MPI_Allgatherv", unsafe {
                ffi::MPI_Allgatherv(send, count, byte, receive, counts, places, byte, self.raw)
            }),
            // SAFETY: as above.
            Some(root) => check("MPI_Gatherv", unsafe {
                ffi::MPI_Gatherv(send, count, byte, receive, counts, places, byte, root as c_int, self.raw)
            }),
        }
    }

    /// How many bytes each rank has, on the root alone or on all ranks; elsewhere nothing.
    fn gather_lengths(&self, root: Option<usize>, length: usize) -> Result<Vec<usize>> {
        let own = length as u64;
        let here = root.is_none_or(|root| root == self.rank);
        let mut all = vec![0u64; if here { self.size } else { 0 }];
        let (send, receive, word) = ((&raw const own).cast(), address_mut(&mut all), u64::datatype());
        match root {
            // SAFETY: one word goes out, and there is room for one of each rank.
            None => check("MPI_Allgather", unsafe { ffi::MPI_Allgather(send, 1, word, receive, 1, word, self.raw) })?,
            // SAFETY: as above, where they are received.
            Some(root) => check("MPI_Gather", unsafe {
                ffi::MPI_Gather(send, 1, word, receive, 1, word, root as c_int, self.raw)
            })?,
        }
        Ok(all.into_iter().map(|length| length as usize).collect())
    }
}

impl Drop for Communicator {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // SAFETY: `raw` was created by this owner and is freed once; the environment is still alive. A failure leaks
            // one handle, and nobody could do better about it.
            unsafe { ffi::MPI_Comm_free(&raw mut self.raw) };
        }
    }
}
