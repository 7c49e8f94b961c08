//! What the processor is told of memory that will be read, and of what will not be read soon.

use std::sync::OnceLock;

/// The bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// The bytes of the cache that a core has to itself, as far as the system tells.
pub(crate) fn core_cache() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| share_of("index2").unwrap_or(1 << 20))
}

/// The bytes that a core has of the last cache, which it shares with others that are as busy.
pub(crate) fn shared_cache() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| share_of("index3").unwrap_or(2 << 20))
}

/// The bytes of a cache of the first processor, divided by the processors that share it.
fn share_of(cache: &str) -> Option<usize> {
    let read = |name| std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu0/cache/{cache}/{name}")).ok();
    let size = read("size")?.trim().strip_suffix('K')?.parse::<usize>().ok()? << 10;
    Some(size / count(read("shared_cpu_list")?.trim())?)
}

/// How many numbers a list like `0-3,8` has.
fn count(list: &str) -> Option<usize> {
    let stretch = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(last.parse::<usize>().ok()?.checked_sub(first.parse().ok()?)? + 1)
    };
    list.split(',').map(stretch).sum()
}

/// Asks for the cache line of a number that will be read or written soon; one that lies beyond the end is asked for in vain.
///
/// It comes to the second cache: for the first, a core can wait for some twenty lines only, and a sweep over memory took up to
/// 1.3 times as long (Zen 4, measured).
#[inline(always)]
pub(crate) fn prefetch<T>(data: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that anybody could see, and no address makes it fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T1>(data.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, at);
}

/// Writes numbers past the caches, if they fill whole cache lines; says whether it has. Other threads see them after
/// [`finish_streams`]. A `wide` store takes a line at once: in four parts, a sweep took up to 1.13 times as long (measured).
///
/// # Safety
/// `wide` needs a processor with AVX-512.
///
/// # Panics
/// If there is not one place for each number.
#[inline(always)]
pub(crate) unsafe fn stream<T: bytemuck::Pod>(to: &mut [T], from: &[T], wide: bool) -> bool {
    assert_eq!(to.len(), from.len(), "each number has a place of its own");
    let bytes = size_of_val(from);
    #[cfg(target_arch = "x86_64")]
    if bytes.is_multiple_of(LINE) && to.as_ptr().addr().is_multiple_of(LINE) {
        use std::arch::x86_64::{__m128i, __m512i};
        use std::arch::x86_64::{_mm_loadu_si128, _mm_stream_si128, _mm512_loadu_si512, _mm512_stream_si512};
        let (to, from) = (to.as_mut_ptr(), from.as_ptr());
        if wide {
            let (to, from) = (to.cast::<__m512i>(), from.cast::<__m512i>());
            for i in 0..bytes / LINE {
                // SAFETY: both slices have so many bytes, the place is aligned to a line, and the caller vouches for AVX-512.
                unsafe { _mm512_stream_si512(to.add(i), _mm512_loadu_si512(from.add(i))) };
            }
        } else {
            let (to, from) = (to.cast::<__m128i>(), from.cast::<__m128i>());
            for i in 0..bytes / 16 {
                // SAFETY: as above, and every x86-64 processor has SSE2.
                unsafe { _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i))) };
            }
        }
        return true;
    }
    let _ = wide;
    false
}

/// Lets other threads see what this one has written past the caches.
#[inline(always)]
pub(crate) fn finish_streams() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a fence touches no memory.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors_are_counted() {
        assert_eq!([count("0"), count("0-7"), count("0-3,8,64-67")], [Some(1), Some(8), Some(9)]);
        assert_eq!([count(""), count("3-1"), count("a-b")], [None; 3]);
    }

    #[test]
    fn a_core_has_caches_of_a_size_that_can_be() {
        let sane = 1 << 14..1 << 32;
        assert!(sane.contains(&core_cache()) && sane.contains(&shared_cache()));
    }

    #[test]
    fn what_fills_whole_lines_is_written_past_the_caches_and_nothing_else() {
        let from: Vec<u64> = (0..16).collect();
        for wide in [false, can_store_lines()] {
            // SAFETY: it is asked for where the processor has it.
            let stream = |to: &mut [u64], from: &[u64]| unsafe { stream(to, from, wide) };
            let mut room = vec![0u64; 32];
            let first = room.as_ptr().addr().next_multiple_of(LINE) - room.as_ptr().addr();
            let first = first / size_of::<u64>();
            let streamed = stream(&mut room[first..first + 16], &from);
            finish_streams();
            assert_eq!(streamed, cfg!(target_arch = "x86_64"));
            assert!(!streamed || room[first..first + 16] == from);
            assert!(!stream(&mut room[first + 1..first + 9], &from[..8]), "it does not begin with a line");
            assert!(!stream(&mut room[first..first + 7], &from[..7]), "it does not end with one");
        }
    }

    fn can_store_lines() -> bool {
        #[cfg(target_arch = "x86_64")]
        return is_x86_feature_detected!("avx512f");
        #[cfg(not(target_arch = "x86_64"))]
        false
    }
}
