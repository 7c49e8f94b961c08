//! A checkpoint with damage anywhere: it is refused, or it is what it was.
//!
//! The first byte of the input says what the others are: the bytes of a file; or changes of a sound one, five bytes each:
//! where, and what to.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steadfast_fuzz::{Sample, read_all, room};
use tempfile::TempDir;

static ROOM: LazyLock<TempDir> = LazyLock::new(room);
static SAMPLE: LazyLock<Sample> = LazyLock::new(Sample::new);

fuzz_target!(|input: &[u8]| {
    let Some((mode, rest)) = input.split_first() else { return };
    let mut bytes = SAMPLE.bytes.clone();
    if mode & 1 == 1 {
        bytes = rest.to_vec();
    } else {
        for change in rest.chunks_exact(5) {
            let at = u32::from_le_bytes([change[0], change[1], change[2], change[3]]) as usize % bytes.len();
            bytes[at] = change[4];
        }
    }
    if mode & 2 == 2 {
        SAMPLE.seal(&mut bytes);
    }
    let path = ROOM.path().join("checkpoint.h5");
    std::fs::write(&path, &bytes).expect("memory is writable");
    let read = read_all(&path);
    // Whoever makes the seal fit again may write what he likes into the header.
    if let (Ok((header, fingerprint)), false) = (read, mode & 2 == 2) {
        assert_eq!((&header, fingerprint), (&SAMPLE.header, SAMPLE.fingerprint));
    }
});
