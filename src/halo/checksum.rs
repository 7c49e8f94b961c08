//! How a message that is not what was sent is noticed on arrival.

use crc_fast::{CrcAlgorithm, Digest};

use crate::error::{Error, Kind};
use crate::field::Scalar;

/// The checksums of one exchange's messages, as one rank writes and compares them.
///
/// Behind its numbers each message carries a CRC-64/NVME of the sender, the receiver, the number of the exchange and the
/// numbers themselves. So not only a flipped bit is noticed, but also a message that was swapped with another or is an old
/// one. Both ends count their exchanges; nothing but the checksum travels.
#[derive(Debug)]
pub(super) struct Checksums {
    rank: usize,
    /// The number of the exchange that is under way.
    number: u64,
    fault: Option<Error>,
}

impl Checksums {
    /// The checksums of a rank that has not exchanged anything yet.
    pub fn new(rank: usize) -> Self {
        Checksums { rank, number: 0, fault: None }
    }

    /// How many numbers of a type a checksum takes the place of.
    pub const fn numbers<T>() -> usize {
        size_of::<u64>() / size_of::<T>()
    }

    /// Writes the checksum of a message to `receiver` to its place.
    pub fn write<T: Scalar>(&self, receiver: usize, packed: &[T], place: &mut [T]) {
        bytemuck::cast_slice_mut(place).copy_from_slice(&self.of(self.rank, receiver, packed).to_ne_bytes());
    }

    /// Compares a message from `sender` with the checksum that it came with, and tells whether it is what was sent.
    pub fn compare<T: Scalar>(&mut self, sender: usize, packed: &[T], own: &[T]) -> bool {
        let found = self.of(sender, self.rank, packed);
        let sound = bytemuck::cast_slice::<T, u8>(own) == found.to_ne_bytes();
        if !sound && self.fault.is_none() {
            self.fault = Some(self.explain(sender, packed.len()));
        }
        sound
    }

    /// Counts the exchange that was under way as done.
    pub fn next(&mut self) {
        self.number += 1;
    }

    /// The first message that was not what was sent since the last call.
    pub fn take_fault(&mut self) -> Option<Error> {
        self.fault.take()
    }

    fn of<T: Scalar>(&self, sender: usize, receiver: usize, packed: &[T]) -> u64 {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        for word in [sender as u64, receiver as u64, self.number] {
            digest.update(&word.to_ne_bytes());
        }
        digest.update(bytemuck::cast_slice(packed));
        digest.finalize()
    }

    fn explain(&self, sender: usize, numbers: usize) -> Error {
        Error::new(
            Kind::Corruption,
            format!(
                "a message of {numbers} numbers from rank {sender} to rank {} (exchange {}) is not what was sent: its \
                 checksum does not fit",
                self.rank, self.number
            ),
        )
        .hint(format!(
            "a bit flipped in memory or on the way: go on from the newest checkpoint; if it happens again, leave out the \
             node of rank {sender} or of rank {}",
            self.rank
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A message of rank 3 to rank 5 in the exchange of this number.
    fn message<T: Scalar>(number: u64, numbers: usize) -> Vec<T> {
        let sender = Checksums { number, ..Checksums::new(3) };
        let mut whole: Vec<T> = (0..numbers + Checksums::numbers::<T>()).map(|i| T::from_f64(i as f64)).collect();
        let (packed, after) = whole.split_at_mut(numbers);
        sender.write(5, packed, after);
        whole
    }

    /// What a rank makes of it that takes it for one of `sender` in the exchange of this number.
    fn arrives<T: Scalar>(whole: &[T], rank: usize, sender: usize, number: u64) -> Option<Error> {
        let mut receiver = Checksums { number, ..Checksums::new(rank) };
        let (packed, after) = whole.split_at(whole.len() - Checksums::numbers::<T>());
        let sound = receiver.compare(sender, packed, after);
        let fault = receiver.take_fault();
        assert_eq!(sound, fault.is_none());
        fault
    }

    fn check_every_bit<T: Scalar>() {
        let whole = message::<T>(7, 13);
        assert_eq!(arrives(&whole, 5, 3, 7), None);
        for bit in 0..8 * size_of_val(&whole[..]) {
            let mut flipped = whole.clone();
            bytemuck::cast_slice_mut::<T, u8>(&mut flipped)[bit / 8] ^= 1 << (bit % 8);
            assert!(arrives(&flipped, 5, 3, 7).is_some(), "bit {bit}");
        }
    }

    #[test]
    fn every_flipped_bit_of_a_message_or_its_checksum_is_noticed_for_every_type_of_number() {
        check_every_bit::<f64>();
        check_every_bit::<f32>();
        check_every_bit::<i64>();
        check_every_bit::<i32>();
        check_every_bit::<u8>();
    }

    #[test]
    fn a_message_of_another_exchange_sender_or_receiver_is_noticed() {
        let whole = message::<f64>(7, 13);
        for (rank, sender, number) in [(5, 3, 6), (5, 3, 8), (5, 4, 7), (4, 3, 7)] {
            assert!(arrives(&whole, rank, sender, number).is_some());
        }
    }

    #[test]
    fn zeros_in_the_place_of_a_message_are_noticed() {
        assert!(arrives(&[0.0f64; 9], 5, 3, 0).is_some());
        assert!(arrives(&[0u8; 8], 5, 3, 0).is_some(), "even of one without numbers");
    }

    #[test]
    fn the_first_fault_names_sender_receiver_and_exchange() {
        let fault = arrives(&message::<f32>(7, 13), 5, 3, 8).unwrap();
        assert_eq!(fault.kind(), Kind::Corruption);
        assert!(fault.message().contains("of 13 numbers from rank 3 to rank 5 (exchange 8)"), "{fault}");
    }
}
