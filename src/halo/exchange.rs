//! An exchange as it happens: pack, send, copy; wait, unpack.

use std::rc::Rc;

use serde::{Deserialize, Serialize};

use super::checksum::Checksums;
use super::rows::Rows;
use super::{Copy, Message, Plan};
use crate::comm::{Communicator, Meter};
use crate::error::{Error, Kind, Result};
use crate::field::{Field, Patch, Scalar};
use crate::grid::Region;
use crate::rundir::{Part, Spoil};
use crate::sys::mpi::{Messages, Transport};

/// How the messages of an exchange travel; the values that arrive are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// As [`Neighbourhood`](Self::Neighbourhood), but neighbours on the same node read each other's messages where they
    /// were packed, and MPI only tells that they are there; where ranks cannot see each other's memory, MPI moves them.
    #[default]
    SharedMemory,
    /// One neighbourhood collective (`MPI_Ineighbor_alltoallv`) with an edge for each distinct neighbour rank.
    Neighbourhood,
    /// A send and a receive for each neighbour rank (`MPI_Isend`, `MPI_Irecv`).
    PointToPoint,
}

impl Backend {
    /// All of them.
    pub const ALL: [Backend; 3] = [Backend::SharedMemory, Backend::Neighbourhood, Backend::PointToPoint];

    /// The name, as in the case file.
    pub const fn name(self) -> &'static str {
        match self {
            Backend::SharedMemory => "shared_memory",
            Backend::Neighbourhood => "neighbourhood",
            Backend::PointToPoint => "point_to_point",
        }
    }
}

/// Fills the ghosts of a rank's patches from the cells of their neighbours, as often as it is started.
///
/// One exchange serves any number of fields of the same shape, one after the other. It allocates nothing after its birth.
#[derive(Debug)]
pub struct Exchange<T: Scalar, const N: usize> {
    plan: Plan<N>,
    components: usize,
    messages: Messages<T>,
    checksums: Option<Checksums>,
    meter: Rc<Meter>,
    /// Whether the next start sends nothing, on purpose.
    skip: bool,
    /// Whether a bit flips in what it sends.
    flip: bool,
}

impl<T: Scalar, const N: usize> Exchange<T, N> {
    /// Prepares the exchange of fields with so many components.
    ///
    /// # Collective
    /// Also for ranks without blocks.
    ///
    /// # Errors
    /// On all ranks, if one of them would exchange more than MPI can count; if MPI fails.
    pub fn new(communicator: &Communicator, plan: Plan<N>, components: usize, backend: Backend) -> Result<Self> {
        Self::prepare(communicator, plan, components, backend, None)
    }

    /// As [`new`](Self::new), but every message carries a checksum, and one that is not what was sent is noticed on
    /// arrival: see [`take_fault`](Self::take_fault).
    ///
    /// # Collective
    /// Also for ranks without blocks; all must choose the same.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn guarded(communicator: &Communicator, plan: Plan<N>, components: usize, backend: Backend) -> Result<Self> {
        Self::prepare(communicator, plan, components, backend, Some(Checksums::new(communicator.rank())))
    }

    fn prepare(
        communicator: &Communicator,
        plan: Plan<N>,
        components: usize,
        backend: Backend,
        checksums: Option<Checksums>,
    ) -> Result<Self> {
        let transport = match backend {
            Backend::SharedMemory | Backend::Neighbourhood => Transport::Neighbourhood,
            Backend::PointToPoint => Transport::PointToPoint,
        };
        let beyond = if checksums.is_some() { Checksums::numbers::<T>() } else { 0 };
        let sizes = |messages: &[Message<N>]| -> Vec<_> {
            messages.iter().map(|message| (message.rank, message.cells() * components + beyond)).collect()
        };
        let (outgoing, incoming) = (sizes(plan.sends()), sizes(plan.receives()));
        let agree = |outcome| communicator.vote(outcome);
        let share = backend == Backend::SharedMemory;
        let messages = Messages::new(communicator.inner(), transport, share, &outgoing, &incoming, agree)?;
        let meter = Rc::clone(communicator.meter());
        Ok(Exchange { plan, components, messages, checksums, meter, skip: false, flip: false })
    }

    /// Packs and sends what the neighbours need, and copies what needs no message.
    ///
    /// Until [`finish`](Self::finish), ghosts that come from other ranks keep their old values; those of patches that do
    /// not [`wait`](Self::waits) are filled.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If the field is not of the plan's shape; if MPI fails. Then no rank may go on: vote, and stop.
    ///
    /// # Panics
    /// If the exchange has been started and not finished.
    pub fn start(&mut self, field: &mut Field<T, N>) -> Result<()> {
        self.start_but_rows(field)?;
        let _packing = self.meter.aside(Part::Packing);
        wrap_all_rows(&self.plan, field.patches_mut());
        Ok(())
    }

    /// As [`start`](Self::start), but where [rows wrap](Plan::wraps), their ends are left to whoever reads
    /// them: sweeps set them as they go, or [`wrap_rows`] does.
    ///
    /// # Collective
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) fn start_but_rows(&mut self, field: &mut Field<T, N>) -> Result<()> {
        self.check_shape(field)?;
        let _packing = self.meter.aside(Part::Packing);
        for (i, message) in self.plan.sends().iter().enumerate() {
            let (packed, after) = self.messages.outgoing(i).split_at_mut(message.cells() * self.components);
            message.pack(field.patches(), packed);
            if let Some(checksums) = &self.checksums {
                checksums.write(message.rank, packed, after);
            }
            if std::mem::take(&mut self.flip) {
                Spoil::flip(bytemuck::cast_slice_mut(packed), 0);
            }
        }
        if !std::mem::take(&mut self.skip) {
            let _waiting = self.meter.aside(Part::Waiting);
            self.messages.start()?;
        }
        copy_pieces(self.plan.copies(), field.patches_mut());
        Ok(())
    }

    /// Waits for the messages and unpacks them: afterwards every ghost within the domain has its value.
    ///
    /// # Collective
    ///
    /// # Errors
    /// If the field is not of the plan's shape; if MPI fails. Then no rank may go on: vote, and stop.
    pub fn finish(&mut self, field: &mut Field<T, N>) -> Result<()> {
        self.check_shape(field)?;
        let _packing = self.meter.aside(Part::Packing);
        {
            let _waiting = self.meter.aside(Part::Waiting);
            self.messages.wait()?;
        }
        self.meter.exchanged(self.messages.outgoing_bytes());
        for (i, message) in self.plan.receives().iter().enumerate() {
            let (packed, after) = self.messages.incoming(i).split_at(message.cells() * self.components);
            let sound = self.checksums.as_mut().is_none_or(|checksums| checksums.compare(message.rank, packed, after));
            if sound {
                message.unpack(field.patches_mut(), packed);
            }
        }
        if let Some(checksums) = &mut self.checksums {
            checksums.next();
        }
        Ok(())
    }

    /// The first message since the last call that was not what its sender sent, as an error of the kind
    /// [`Corruption`](Kind::Corruption); always none without checksums.
    ///
    /// It is no error of [`finish`](Self::finish), since the other ranks know nothing of it and go on: whoever drives the
    /// exchanges asks here where all ranks meet, and lets them vote. Until then the ghosts that the message was for keep
    /// their old values.
    pub fn take_fault(&mut self) -> Option<Error> {
        self.checksums.as_mut().and_then(Checksums::take_fault)
    }

    /// Has a bit flip in what the next start sends. For tests of what notices it.
    pub fn flip_next_message(&mut self) {
        self.flip = true;
    }

    /// Has the next start send nothing, so that the neighbours wait for ever. For tests of what notices it.
    pub fn skip_next_send(&mut self) {
        self.skip = true;
    }

    /// Whether the rank's patch at this place has ghosts that come from another rank.
    pub fn waits(&self, patch: usize) -> bool {
        self.plan.waits(patch)
    }

    /// The bytes of the cells that this rank sends in one exchange; a checksum adds eight to each message.
    pub fn bytes_per_exchange(&self) -> usize {
        self.plan.cells_sent() * self.components * size_of::<T>()
    }

    /// The number of neighbour ranks that read what this rank sends where it was packed.
    pub fn neighbours_in_shared_memory(&self) -> usize {
        self.messages.shared()
    }

    /// What travels from whom to whom.
    pub fn plan(&self) -> &Plan<N> {
        &self.plan
    }

    /// The number of components of a cell.
    pub fn components(&self) -> usize {
        self.components
    }

    fn check_shape(&self, field: &Field<T, N>) -> Result<()> {
        let fits = field.width() >= self.plan.width()
            && field.components() == self.components
            && field.patches().iter().map(Patch::interior).eq(self.plan.patches().iter().copied());
        if fits {
            return Ok(());
        }
        Err(Error::new(
            Kind::Internal,
            format!(
                "a field of {} patches, {} components and ghosts {} deep does not fit an exchange for {}, {} and {}",
                field.patches().len(),
                field.components(),
                field.width(),
                self.plan.patches().len(),
                self.components,
                self.plan.width()
            ),
        ))
    }
}

impl<const N: usize> Message<N> {
    /// Copies its pieces from the patches of the rank that sends it into a buffer of its length, component after component.
    ///
    /// # Panics
    /// If the patches are not those of the plan, or the buffer has not a place for each component of each of its
    /// [`cells`](Self::cells).
    pub fn pack<T: Scalar>(&self, patches: &[Patch<T, N>], buffer: &mut [T]) {
        let mut rest = buffer;
        for piece in &self.pieces {
            let patch = &patches[piece.patch];
            let rows = Rows::new(patch, &piece.region);
            for plane in patch.data().chunks_exact(patch.plane()) {
                let (packed, after) = rest.split_at_mut(piece.region.volume());
                rows.gather(plane, packed);
                rest = after;
            }
        }
    }

    /// Copies a buffer that was packed so to its pieces in the patches of the rank that receives it.
    ///
    /// # Panics
    /// As [`pack`](Self::pack).
    pub fn unpack<T: Scalar>(&self, patches: &mut [Patch<T, N>], buffer: &[T]) {
        let mut rest = buffer;
        for piece in &self.pieces {
            let patch = &mut patches[piece.patch];
            let rows = Rows::new(patch, &piece.region);
            let volume = patch.plane();
            for plane in patch.data_mut().chunks_exact_mut(volume) {
                let (packed, after) = rest.split_at(piece.region.volume());
                rows.scatter(packed, plane);
                rest = after;
            }
        }
    }
}

/// Fills the ghosts at the ends of some rows of a patch, whose rows go once round a periodic domain: of those that lie in
/// `part`.
pub(crate) fn wrap_rows<T: Scalar, const N: usize>(patch: &mut Patch<T, N>, part: &Region<N>, width: usize) {
    let mut rows = *part;
    (rows.lower[0], rows.upper[0]) = (patch.interior().lower[0], patch.interior().upper[0]);
    let (length, volume, rows) = (rows.extent()[0], patch.plane(), Rows::new(patch, &rows));
    for plane in patch.data_mut().chunks_exact_mut(volume) {
        rows.each(|first| {
            let row = &mut plane[first - width..first + length + width];
            for i in 0..width {
                (row[i], row[length + width + i]) = (row[length + i], row[width + i]);
            }
        });
    }
}

/// Fills the ghosts whose values lie in patches of the same rank.
#[cfg(test)]
pub(super) fn copy_within_rank<T: Scalar, const N: usize>(plan: &Plan<N>, patches: &mut [Patch<T, N>]) {
    copy_pieces(plan.copies(), patches);
    wrap_all_rows(plan, patches);
}

fn wrap_all_rows<T: Scalar, const N: usize>(plan: &Plan<N>, patches: &mut [Patch<T, N>]) {
    for (_, patch) in patches.iter_mut().enumerate().filter(|(place, _)| plan.wraps(*place)) {
        wrap_rows(patch, &patch.interior(), plan.width());
    }
}

fn copy_pieces<T: Scalar, const N: usize>(copies: &[Copy<N>], patches: &mut [Patch<T, N>]) {
    for copy in copies {
        let ghosts = Rows::new(&patches[copy.to], &copy.region);
        let cells = Rows::new(&patches[copy.from], &copy.region.shift(copy.shift));
        let (length, volumes) = (ghosts.length(), [copy.from, copy.to].map(|place| patches[place].plane()));
        if let Ok([from, to]) = patches.get_disjoint_mut([copy.from, copy.to]) {
            let planes = from.data().chunks_exact(volumes[0]).zip(to.data_mut().chunks_exact_mut(volumes[1]));
            for (from, to) in planes {
                ghosts.copy(to, cells, from);
            }
        } else {
            // Across a periodic boundary a patch may be its own neighbour.
            for plane in patches[copy.to].data_mut().chunks_exact_mut(volumes[1]) {
                ghosts.each_pair(cells, |ghost, cell| plane.copy_within(cell..cell + length, ghost));
            }
        }
    }
}
