//! What the processor is told of memory that will be read, and of what will not be read soon.

/// The bytes of a cache line.
pub(crate) const LINE: usize = 64;

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
