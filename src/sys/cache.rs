//! What the processor is told of memory that will be read, and of what will not be read soon.

use std::sync::OnceLock;

/// The bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// The bytes of the cache that a core has to itself, as far as the system tells: the unified one nearest to it.
pub(crate) fn core_cache() -> usize {
    static SIZE: OnceLock<usize> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let told = std::fs::read_to_string("/sys/devices/system/cpu/cpu0/cache/index2/size").ok();
        let kibibytes = told.and_then(|told| told.trim().strip_suffix('K')?.parse::<usize>().ok());
        kibibytes.map_or(MODEST_CACHE, |kibibytes| (kibibytes << 10).max(MODEST_CACHE / 4))
    })
}

/// What the cache of a core is taken to be where nobody tells.
const MODEST_CACHE: usize = 1 << 20;

/// Asks for huge pages where a whole number of them lies in memory that has not been touched yet: a sweep that walks through
/// many layers at once needs an entry of the table of pages for each, and a core knows few of them by heart.
///
/// It is a wish; where the system does not fulfil it, nothing but speed is lost.
pub(crate) fn prefer_huge_pages<T>(memory: &mut [T]) {
    #[cfg(target_os = "linux")]
    if size_of_val(memory) >= 2 * HUGE_PAGE {
        use nix::sys::mman::{MmapAdvise, madvise};
        let range = memory.as_mut_ptr_range();
        let (first, past) = (range.start.addr().next_multiple_of(HUGE_PAGE), range.end.addr() & !(HUGE_PAGE - 1));
        if let Some(start) = std::ptr::NonNull::new(range.start.cast::<u8>().wrapping_add(first - range.start.addr())) {
            // SAFETY: the pages lie within the slice, and the advice does not change what they hold.
            let _ = unsafe { madvise(start.cast(), past - first, MmapAdvise::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = memory;
}

/// The bytes of a huge page; where they are others, the system rounds the wish.
const HUGE_PAGE: usize = 2 << 20;

/// Asks for the cache line of a number that will be read soon; one that lies beyond the end is asked for in vain.
#[inline(always)]
pub(crate) fn prefetch<T>(data: &[T], at: usize) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch reads nothing that anybody could see, and no address makes it fail.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(data.as_ptr().wrapping_add(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (data, at);
}

/// Writes numbers past the caches, if they fill whole cache lines; says whether it has. Other threads see them after
/// [`finish_streams`].
///
/// # Panics
/// If there is not one place for each number.
#[inline(always)]
pub(crate) fn stream<T: bytemuck::Pod>(to: &mut [T], from: &[T]) -> bool {
    assert_eq!(to.len(), from.len(), "each number has a place of its own");
    let bytes = size_of_val(from);
    #[cfg(target_arch = "x86_64")]
    if bytes.is_multiple_of(LINE) && to.as_ptr().addr().is_multiple_of(LINE) {
        use std::arch::x86_64::{__m128i, _mm_loadu_si128, _mm_stream_si128};
        let (to, from) = (to.as_mut_ptr().cast::<__m128i>(), from.as_ptr().cast::<__m128i>());
        for i in 0..bytes / size_of::<__m128i>() {
            // SAFETY: both slices have so many bytes, and the place is aligned to more than its 16.
            unsafe { _mm_stream_si128(to.add(i), _mm_loadu_si128(from.add(i))) };
        }
        return true;
    }
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
