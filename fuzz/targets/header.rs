//! A header that nobody would write, in a checkpoint whose seal fits.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use steadfast_fuzz::{Sample, read_all, room};
use tempfile::TempDir;

static ROOM: LazyLock<TempDir> = LazyLock::new(room);
static SAMPLE: LazyLock<Sample> = LazyLock::new(Sample::new);

fuzz_target!(|text: &[u8]| {
    let mut bytes = SAMPLE.bytes.clone();
    let place = &mut bytes[SAMPLE.text.clone()];
    if text.len() > place.len() {
        return;
    }
    place.fill(b' ');
    place[..text.len()].copy_from_slice(text);
    SAMPLE.seal(&mut bytes);
    let path = ROOM.path().join("header.h5");
    std::fs::write(&path, bytes).expect("memory is writable");
    let _ = read_all(&path);
});
