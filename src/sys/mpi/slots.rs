//! Outgoing messages that neighbours on the same node read where they lie.
//!
//! A message within a node is copied twice more if MPI moves it, into its own memory and out again. Here the sender packs
//! it into memory that the receiver sees, and only its first number travels through MPI: it says that the others are
//! there. All else stays as it is, also how a rank waits and what is noticed of one that is gone.
//!
//! There are two slots, used in turn. A rank writes to a slot for the second time after it has heard of every neighbour
//! for the time in between; by then the neighbour has left the slot, since it reads nothing after it starts to send. For
//! this both must send to each other.

use std::ffi::c_int;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::Arc;

use bytemuck::Pod;

use super::messages::Layout;
use super::{Communicator, Parcels};
use crate::error::Result;
use crate::sys::pages::PAGE;
use crate::sys::shared::{Memory, View, surroundings};

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

/// What a rank offers a neighbour: the ticket to its slots, how many numbers further the second one is, and where the
/// neighbour's message lies in a slot.
type Offer = [u64; 6];

/// The offer of a rank that has no slots.
const NO_OFFER: Offer = [0; 6];

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
        let pairs = pairs(outgoing, incoming);
        let here = surroundings();
        let heard = tell(communicator, &pairs, pairs.iter().map(|_| [here.unwrap_or(0)]))?;
        let close: Vec<bool> = heard.iter().map(|&[there]| here == Some(there)).collect();

        let stride = outgoing.total.next_multiple_of(PAGE / size_of::<T>());
        let wanted = close.contains(&true).then(|| Memory::new(2 * stride * size_of::<T>()));
        let memory = wanted.and_then(|made| made.inspect_err(|cause| say("made", cause)).ok());
        let ticket = memory.as_ref().and_then(Memory::ticket);
        let offer = |pair: &Pair| match ticket {
            Some([process, handle, name, bytes]) => {
                [process, handle, name, bytes, stride as u64, outgoing.places[pair.to] as u64]
            }
            None => NO_OFFER,
        };
        let offers = tell(communicator, &pairs, pairs.iter().map(offer))?;
        // A rank that has nothing to offer takes nothing either: a slot is free again only if both tell each other so.
        let seen = |((pair, &close), &offer): ((&Pair, &bool), &Offer)| match close && memory.is_some() {
            true => Incoming::find::<T>(offer, incoming.counts[pair.from] as usize),
            false => None,
        };
        let seen: Vec<Option<Incoming>> = pairs.iter().zip(&close).zip(&offers).map(seen).collect();

        let sees = tell(communicator, &pairs, seen.iter().map(|message| [u64::from(message.is_some())]))?;
        let Some(mut memory) = memory else { return Ok(None) };
        memory.close();
        let mut slots = Slots {
            memory,
            stride,
            turn: 0,
            read_here: vec![false; outgoing.ranks.len()],
            incoming: incoming.ranks.iter().map(|_| None).collect(),
            numbers: PhantomData,
        };
        for ((pair, message), [sees_mine]) in pairs.iter().zip(seen).zip(sees) {
            slots.incoming[pair.from] = message.filter(|_| sees_mine == 1);
            slots.read_here[pair.to] = slots.lies_there(pair.from);
        }
        Ok(slots.read_here.contains(&true).then_some(slots))
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
    /// The message that an offer is of, if it can be seen and the slots are such that they hold it.
    fn find<T>(offer: Offer, count: usize) -> Option<Self> {
        if offer == NO_OFFER {
            return None;
        }
        let [process, handle, name, bytes, stride, place] = offer;
        let [stride, place] = [stride, place].map(|numbers| numbers as usize);
        let view = View::new([process, handle, name, bytes]).inspect_err(|cause| say("seen", cause)).ok()?;
        let holds = |numbers: usize| numbers.checked_mul(size_of::<T>()).is_some_and(|bytes| bytes <= view.bytes());
        let fits =
            place.checked_add(count).is_some_and(|end| end <= stride) && stride.checked_mul(2).is_some_and(holds);
        fits.then_some(Incoming { view, stride, place, count })
    }
}

/// A neighbour that this rank sends to and hears from: who it is, and which outgoing and incoming message is its.
struct Pair {
    rank: usize,
    to: usize,
    from: usize,
}

/// Both ends of a pair find it by themselves: each has a message for the other.
fn pairs(outgoing: &Layout, incoming: &Layout) -> Vec<Pair> {
    let pair = |(to, &rank): (usize, &c_int)| {
        let from = incoming.ranks.iter().position(|&other| other == rank)?;
        let both = outgoing.counts[to] > 0 && incoming.counts[from] > 0;
        both.then_some(Pair { rank: rank as usize, to, from })
    };
    outgoing.ranks.iter().enumerate().filter_map(pair).collect()
}

/// Tells each neighbour some words, and hears as many from it.
fn tell<const W: usize>(
    communicator: &Rc<Communicator>,
    pairs: &[Pair],
    words: impl Iterator<Item = [u64; W]>,
) -> Result<Vec<[u64; W]>> {
    let ranks = || pairs.iter().map(|pair| pair.rank);
    let outgoing = ranks().zip(words).map(|(rank, words)| (rank, Arc::new(words.to_vec())));
    let incoming = ranks().map(|rank| (rank, vec![0; W]));
    let heard = Parcels::start(communicator, outgoing.collect(), incoming.collect())?.receive()?;
    Ok(heard.iter().map(|words| std::array::from_fn(|i| words[i])).collect())
}

fn say(what: &str, cause: &std::io::Error) {
    log::debug!("messages within the node are copied by MPI, since memory for them cannot be {what}: {cause}");
}
