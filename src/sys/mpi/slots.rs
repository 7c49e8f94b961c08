//! Outgoing messages that neighbours on the same node read where they lie.
//!
//! A message within a node is copied twice more if MPI moves it, into its own memory and out again. Here the sender packs
//! it into memory that the receiver sees, and only its first number travels through MPI: it says that the others are
//! there. All else stays as it is, also how a rank waits and what is noticed of one that is gone.
//!
//! There are two slots, used in turn. A rank writes to a slot for the second time after it has heard of every neighbour
//! for the time in between; by then the neighbour has left the slot, since it reads nothing after it starts to send. For
//! this both must send to each other.

use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use bytemuck::Pod;

use super::messages::Layout;
use super::{Communicator, Parcels};
use crate::error::Result;
use crate::sys::pages::PAGE;
use crate::sys::shared::{Memory, Ticket, View, surroundings};

/// A rank's outgoing messages, twice, and those of its neighbours on the same node.
#[derive(Debug)]
pub(super) struct Slots<T> {
    memory: Memory,
    /// How many numbers further the second slot is.
    stride: usize,
    /// The slot that is written next.
    turn: usize,
    /// For each outgoing message, whether its receiver reads it here.
    read_here: Vec<bool>,
    /// For each incoming message, where it lies if it does so in its sender's slots.
    incoming: Vec<Option<Incoming>>,
    numbers: PhantomData<T>,
}

/// A message in the slots of its sender.
#[derive(Debug)]
struct Incoming {
    view: View,
    stride: usize,
    place: usize,
    count: usize,
}

impl<T: Pod> Slots<T> {
    /// Finds out which neighbours can share memory; none if no pair can, for whatever reason.
    ///
    /// All ranks of the communicator call it that send to each other.
    pub fn meet(communicator: &Rc<Communicator>, outgoing: &Layout, incoming: &Layout) -> Result<Option<Self>> {
        let places = |layout: &Layout, rank| layout.ranks.iter().position(|&other| other == rank);
        let both = |&(to, from): &(usize, usize)| outgoing.counts[to] > 0 && incoming.counts[from] > 0;
        let mutual: Vec<(usize, usize)> = (outgoing.ranks.iter().enumerate())
            .filter_map(|(to, &rank)| Some((to, places(incoming, rank)?)))
            .filter(both)
            .collect();
        let ranks: Vec<usize> = mutual.iter().map(|&(to, _)| outgoing.ranks[to] as usize).collect();

        let here = surroundings();
        let theirs = tell(communicator, &ranks, mutual.iter().map(|_| [here.unwrap_or(0)]))?;
        let close: Vec<bool> = theirs.iter().map(|&[there]| here == Some(there)).collect();

        let stride = outgoing.total.next_multiple_of(PAGE / size_of::<T>());
        let bytes = 2 * stride * size_of::<T>();
        let needed = close.contains(&true).then(|| Memory::new(bytes));
        let mut memory = needed.and_then(|made| made.inspect_err(|cause| say("made", cause)).ok());
        let ticket = memory.as_ref().and_then(Memory::ticket).unwrap_or_default();
        let tickets = tell(
            communicator,
            &ranks,
            mutual.iter().map(|&(to, _)| {
                let [process, handle, name, bytes] = ticket;
                [process, handle, name, bytes, stride as u64, outgoing.places[to] as u64]
            }),
        )?;
        let found = |((&(_, from), &close), &[process, handle, name, bytes, stride, place]): (
            (&(usize, usize), &bool),
            &[u64; 6],
        )| {
            let there = close && memory.is_some() && bytes > 0;
            let ticket = [process, handle, name, bytes];
            there.then(|| {
                Incoming::find::<T>(ticket, [stride, place].map(|n| n as usize), incoming.counts[from] as usize)
            })?
        };
        let mut views: Vec<Option<Incoming>> = mutual.iter().zip(&close).zip(&tickets).map(found).collect();

        let agreed = tell(communicator, &ranks, views.iter().map(|view| [u64::from(view.is_some())]))?;
        let mut slots = Slots {
            memory: match memory.take() {
                Some(memory) if views.iter().zip(&agreed).any(|(view, &[theirs])| view.is_some() && theirs == 1) => {
                    memory
                }
                _ => return Ok(None),
            },
            stride,
            turn: 0,
            read_here: vec![false; outgoing.ranks.len()],
            incoming: incoming.ranks.iter().map(|_| None).collect(),
            numbers: PhantomData,
        };
        slots.memory.close();
        for ((&(to, from), view), [theirs]) in mutual.iter().zip(&mut views).zip(agreed) {
            slots.incoming[from] = view.take().filter(|_| theirs == 1);
            slots.read_here[to] = slots.incoming[from].is_some();
        }
        Ok(Some(slots))
    }

    /// Whether the receiver of this outgoing message reads it here.
    pub fn is_read_here(&self, message: usize) -> bool {
        self.read_here[message]
    }

    /// Whether this incoming message lies in its sender's slots.
    pub fn lies_there(&self, message: usize) -> bool {
        self.incoming[message].is_some()
    }

    /// What is sent next.
    pub fn outgoing(&mut self) -> &mut [T] {
        let slot = self.turn * self.stride;
        // SAFETY: the memory has two slots, begins with a page, and its numbers may have any bits; those who read it have
        // left this slot, as is said above.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start().cast::<T>().add(slot).as_ptr(), self.stride) }
    }

    /// What was written last is sent; the other slot is next.
    pub fn turn(&mut self) {
        self.turn = 1 - self.turn;
    }

    /// The message in its sender's slot, as it was last sent; none if it does not come this way.
    pub fn incoming(&self, message: usize) -> Option<&[T]> {
        let Incoming { view, stride, place, count } = self.incoming[message].as_ref()?;
        let first = (1 - self.turn) * stride + place;
        // SAFETY: `find` has seen that the message lies within the view in either slot; its numbers may have any bits; its
        // sender leaves this slot alone until this rank has started to send again, which needs `self` for itself.
        Some(unsafe { std::slice::from_raw_parts(view.start().cast::<T>().add(first).as_ptr(), *count) })
    }
}

impl Incoming {
    /// The message in the slots that the ticket is for, if they can be seen and are such that they hold it.
    fn find<T>(ticket: Ticket, [stride, place]: [usize; 2], count: usize) -> Option<Self> {
        let view = View::new(ticket).inspect_err(|cause| say("seen", cause)).ok()?;
        let holds = |numbers: usize| numbers.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= view.bytes());
        let fits =
            place.checked_add(count).is_some_and(|end| end <= stride) && stride.checked_mul(2).is_some_and(holds);
        fits.then_some(Incoming { view, stride, place, count })
    }
}

/// Tells each of these ranks some words, and hears as many from it.
fn tell<const W: usize>(
    communicator: &Rc<Communicator>,
    ranks: &[usize],
    words: impl Iterator<Item = [u64; W]>,
) -> Result<Vec<[u64; W]>> {
    let outgoing = ranks.iter().zip(words).map(|(&rank, words)| (rank, Arc::new(words.to_vec()))).collect();
    let incoming = ranks.iter().map(|&rank| (rank, vec![0; W])).collect();
    let heard = Parcels::start(communicator, outgoing, incoming)?.receive()?;
    Ok(heard.iter().map(|words| std::array::from_fn(|i| words[i])).collect())
}

fn say(what: &str, cause: &std::io::Error) {
    log::debug!("messages within the node are copied by MPI, since memory for them cannot be {what}: {cause}");
}
