//! The ranks of a run, and how bytes and values travel between all of them.

use std::rc::Rc;
use std::sync::Arc;

use bytemuck::Pod;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Meter;
use crate::error::{Error, Kind, Result};
use crate::rundir::Part;
use crate::sys::mpi;

/// The ranks of a run.
///
/// It stays on the thread that started MPI. Clones are the same communicator.
#[derive(Debug, Clone)]
pub struct Communicator {
    inner: Rc<mpi::Communicator>,
    meter: Rc<Meter>,
}

/// A rank's place on its node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// The rank among the ranks of its node.
    pub rank: usize,
    /// How many ranks the node has.
    pub size: usize,
    /// The node's name.
    pub name: String,
}

impl Communicator {
    pub(super) fn new(inner: mpi::Communicator) -> Self {
        Communicator { inner: Rc::new(inner), meter: Rc::new(Meter::new()) }
    }

    /// The handle, for [`crate::halo`].
    pub(crate) fn inner(&self) -> &mpi::Communicator {
        &self.inner
    }

    /// What this rank's time is spent on.
    pub fn meter(&self) -> &Rc<Meter> {
        &self.meter
    }

    /// Calls what all ranks call; within a step, the time that it takes counts as this.
    pub(super) fn together<T>(&self, part: Part, call: impl FnOnce(&mpi::Communicator) -> T) -> T {
        let _aside = self.meter.aside(part);
        call(&self.inner)
    }

    /// The number of this rank, from 0.
    pub fn rank(&self) -> usize {
        self.inner.rank()
    }

    /// The number of ranks.
    pub fn size(&self) -> usize {
        self.inner.size()
    }

    /// Whether this is rank 0, which does what one rank does for all.
    pub fn is_root(&self) -> bool {
        self.rank() == 0
    }

    /// Waits until every rank is here.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn barrier(&self) -> Result<()> {
        self.together(Part::Reductions, |all| all.barrier())
    }

    /// Replaces `bytes` by those of `root`, of any length.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn broadcast_bytes(&self, root: usize, bytes: &mut Vec<u8>) -> Result<()> {
        self.together(Part::Reductions, |all| {
            let mut length = (bytes.len() as u64).to_le_bytes();
            all.broadcast(root, &mut length)?;
            bytes.resize(u64::from_le_bytes(length) as usize, 0);
            all.broadcast(root, bytes)
        })
    }

    /// Gives all ranks the value of `root`, which passes `Some`; what the others pass is ignored.
    ///
    /// Every bit of a float arrives, also of an infinite or NaN one.
    ///
    /// # Collective
    ///
    /// # Errors
    /// On all ranks, if `root` passes `None` or a value that cannot be serialised; if MPI fails.
    pub fn broadcast<T: Serialize + DeserializeOwned>(&self, root: usize, value: Option<T>) -> Result<T> {
        let mut bytes = Vec::new();
        if self.rank() == root {
            let absent = || Error::new(Kind::Internal, "the root of a broadcast has no value to give");
            let packed = value.ok_or_else(absent).and_then(|value| pack(&value));
            bytes = packed.or_else(|error| pack_error(&error.on_rank(root)))?;
        }
        self.broadcast_bytes(root, &mut bytes)?;
        // The root unpacks its own value too, so that all have the same one, or the same error.
        match bytes.pop() {
            Some(IS_VALUE) => unpack(&bytes),
            _ => Err(unpack::<Error>(&bytes)?),
        }
    }

    /// The bytes of all ranks in their order, on `root` alone.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn gather_bytes(&self, root: usize, bytes: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        self.together(Part::Reductions, |all| all.gather(Some(root), bytes))
    }

    /// The bytes of all ranks in their order, on every rank.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn all_gather_bytes(&self, bytes: &[u8]) -> Result<Vec<Vec<u8>>> {
        let gathered = self.together(Part::Reductions, |all| all.gather(None, bytes))?;
        Ok(gathered.expect("without a root every rank gathers"))
    }

    /// Passes words on in a circle of ranks: to one of them, and `count` others from one that passes them here.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub(crate) fn pass(&self, words: &[u64], to: usize, from: usize, count: usize) -> Result<Vec<u64>> {
        let outgoing = vec![(to, Arc::new(words.to_vec()))];
        let parcels = mpi::Parcels::start(&self.inner, outgoing, vec![(from, vec![0; count])])?;
        Ok(parcels.receive()?.into_iter().flatten().collect())
    }

    /// Sends to each rank a list of its own, `parts[rank]`, and returns the lists that all ranks sent here, in their order.
    ///
    /// The lists may have any lengths, also none.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    ///
    /// # Panics
    /// If there is not one list for each rank.
    ///
    /// # Example
    /// ```no_run
    /// # fn example(communicator: &steadfast::comm::Communicator) -> steadfast::Result<()> {
    /// // Accounts are shared out over the ranks by their numbers; each payment goes to the rank of its account.
    /// let mut parts = vec![Vec::new(); communicator.size()];
    /// for [account, cents] in [[17u64, 100], [23, 250]] {
    ///     parts[account as usize % communicator.size()].push([account, cents]);
    /// }
    /// let received: Vec<Vec<[u64; 2]>> = communicator.all_to_all(&parts)?;
    /// # Ok(()) }
    /// ```
    pub fn all_to_all<T: Pod>(&self, parts: &[Vec<T>]) -> Result<Vec<Vec<T>>> {
        let lengths: Vec<u64> = parts.iter().map(|part| part.len() as u64).collect();
        let lengths = self.together(Part::Waiting, |all| all.all_to_all_lengths(&lengths))?;
        let mut received: Vec<_> = lengths.iter().map(|&length| vec![T::zeroed(); length as usize]).collect();
        let outgoing: Vec<&[u8]> = parts.iter().map(|part| bytemuck::cast_slice(part)).collect();
        let mut incoming: Vec<&mut [u8]> =
            received.iter_mut().map(|part| bytemuck::cast_slice_mut(part.as_mut_slice())).collect();
        self.together(Part::Waiting, |all| all.all_to_all(&outgoing, &mut incoming))?;
        let others = outgoing.iter().enumerate().filter(|(rank, _)| *rank != self.rank());
        self.meter.exchanged(others.map(|(_, part)| part.len()).sum());
        Ok(received)
    }

    /// Where this rank runs.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If MPI fails.
    pub fn node(&self) -> Result<Node> {
        let node = self.inner.of_node()?;
        Ok(Node { rank: node.rank(), size: node.size(), name: mpi::node_name()? })
    }

    /// Ends the processes of all ranks at once with an exit code: the way out when ranks can no longer agree.
    pub fn abort(&self, code: i32) -> ! {
        mpi::abort(code)
    }
}

/// The last byte of a packed value, and of the reason why there is none.
const IS_VALUE: u8 = 1;
const IS_ERROR: u8 = 0;

pub(super) fn pack<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    let packed = rmp_serde::to_vec_named(value);
    let mut packed = packed.map_err(|e| Error::new(Kind::Internal, format!("a value cannot be packed: {e}")))?;
    packed.push(IS_VALUE);
    Ok(packed)
}

fn pack_error(error: &Error) -> Result<Vec<u8>> {
    let mut packed = pack(error)?;
    packed.pop();
    packed.push(IS_ERROR);
    Ok(packed)
}

fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|e| Error::new(Kind::Internal, format!("a value cannot be unpacked: {e}")))
}
