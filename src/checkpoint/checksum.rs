//! How damage is noticed: a checksum for each block, and a seal over every other byte of the file.
//!
//! Both are CRC-64/NVME: 64 bits notice every burst of up to 64 bits, miss anything else once in 2^64, and the processor's
//! carry-less multiplication computes them faster than memory delivers. Rejected: Fletcher32, which is zero for a block of
//! zeros; cryptographic hashes, which slow the staging copy down and guard against what this format does not promise.

use std::io;

use crc_fast::{CrcAlgorithm, Digest};

use super::header::Header;
use super::layout::Layout;

/// Computes the checksum of one block of one component from its bytes, in the order in which they are stored.
pub(super) struct BlockDigest(Digest);

impl BlockDigest {
    /// Starts from whose bytes they are, so that a block of another run, step, component or place does not pass.
    pub fn new(header: &Header, component: usize, chunk: usize) -> Self {
        let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
        digest.update(header.run_id.as_bytes());
        for word in [header.step, component as u64, chunk as u64] {
            digest.update(&word.to_le_bytes());
        }
        BlockDigest(digest)
    }

    /// Takes the next bytes in.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum of all bytes so far.
    pub fn finish(&self) -> u64 {
        self.0.finalize()
    }
}

/// The checksum of a whole block of one component.
pub(crate) fn of_block(header: &Header, component: usize, chunk: usize, bytes: &[u8]) -> u64 {
    let mut digest = BlockDigest::new(header, component, chunk);
    digest.update(bytes);
    digest.finish()
}

/// The seal of a file: the checksum of every byte that belongs to no block, as it stands in the file now; `read` fills a buffer
/// from a place in it.
pub(super) fn of_file(read: impl Fn(&mut [u8], u64) -> io::Result<()>, layout: &Layout) -> io::Result<u64> {
    let sealed = layout.sealed().ok_or_else(|| io::Error::other("the parts of the file overlap"))?;
    let mut digest = Digest::new(CrcAlgorithm::Crc64Nvme);
    let mut buffer = vec![0; 1 << 18];
    for range in sealed {
        let mut at = range.start;
        while at < range.end {
            let part = (range.end - at).min(buffer.len() as u64) as usize;
            read(&mut buffer[..part], at)?;
            digest.update(&buffer[..part]);
            at += part as u64;
        }
    }
    Ok(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::super::header::tests::header;
    use super::*;
    use crate::field::ScalarKind;

    #[test]
    fn the_checksum_is_crc_64_nvme() {
        assert_eq!(crc_fast::checksum(CrcAlgorithm::Crc64Nvme, b"123456789"), 0xae8b_1486_0a79_9888);
    }

    #[test]
    fn a_block_of_another_run_step_component_or_place_does_not_pass() {
        let here = header(&[8], &[2], ScalarKind::F64, 2);
        let (mut other_run, mut other_step) = (here.clone(), here.clone());
        other_run.run_id = "run-2".into();
        other_step.step += 1;
        for bytes in [[0; 16], [7; 16]] {
            let expected = of_block(&here, 0, 1, &bytes);
            let others = [
                of_block(&other_run, 0, 1, &bytes),
                of_block(&other_step, 0, 1, &bytes),
                of_block(&here, 1, 1, &bytes),
                of_block(&here, 0, 2, &bytes),
            ];
            assert!(others.iter().all(|&other| other != expected && other != 0));
        }
    }

    #[test]
    fn bytes_may_come_in_parts() {
        let header = header(&[8], &[2], ScalarKind::F64, 2);
        let bytes: Vec<u8> = (0..255).collect();
        let mut digest = BlockDigest::new(&header, 1, 1);
        bytes.chunks(7).for_each(|part| digest.update(part));
        assert_eq!(digest.finish(), of_block(&header, 1, 1, &bytes));
    }
}
