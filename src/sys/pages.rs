//! Memory that begins with a page: what a disk reads and writes by itself, and what huge pages can hold.

use std::ops::{Deref, DerefMut};

/// The bytes of a page, and of what a disk moves at once; where they are others, they divide it or the disk is asked in vain.
pub(crate) const PAGE: usize = 4096;

/// The bytes of a huge page; where they are others, the system rounds the wish.
const HUGE_PAGE: usize = 2 << 20;

/// Numbers that begin with a page, with a huge one if they fill it.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    /// The numbers, from `lead` on.
    store: Vec<T>,
    lead: usize,
    length: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Pages { store: Vec::new(), lead: 0, length: 0 }
    }
}

impl<T: Copy + Default> Pages<T> {
    /// So many zeros, whose pages are touched by whoever writes them first.
    pub fn zeroed(length: usize) -> Self {
        let unit = if size_of::<T>() * length < HUGE_PAGE { PAGE } else { HUGE_PAGE };
        let mut store = vec![T::default(); length + unit / size_of::<T>()];
        prefer_huge_pages(&mut store);
        let first = store.as_ptr().addr();
        let lead = (first.next_multiple_of(unit) - first) / size_of::<T>();
        Pages { store, lead, length }
    }

    /// Has the system find a page for each of them now.
    pub fn touch(&mut self) {
        self.iter_mut().step_by(PAGE / size_of::<T>()).for_each(|number| *std::hint::black_box(number) = T::default());
    }

    /// Makes room for so many numbers, which may be any; new memory is taken only where there is too little.
    pub fn make_room(&mut self, length: usize) {
        if self.store.len() - self.lead < length {
            // The old memory goes first.
            *self = Pages::default();
            *self = Pages::zeroed(length);
        }
        self.length = length;
    }
}

impl<T> Deref for Pages<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.store[self.lead..][..self.length]
    }
}

impl<T> DerefMut for Pages<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.store[self.lead..][..self.length]
    }
}

/// Asks for huge pages where a whole number of them lies in memory that has not been touched yet: a sweep that walks through
/// many layers at once needs an entry of the table of pages for each, and a core knows few of them by heart; and a disk that
/// takes what lies in huge pages has fewer pieces to put together.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_any_size_may_be_wished_for_in_huge_pages() {
        prefer_huge_pages(&mut [0u64; 32]);
        prefer_huge_pages(&mut vec![0u8; 3 * HUGE_PAGE]);
    }

    #[test]
    fn memory_of_any_length_begins_with_a_page_and_is_used_again() {
        for length in [0, 1, 511, 100_000, HUGE_PAGE / 4, HUGE_PAGE + 3] {
            let mut pages = Pages::<u32>::zeroed(length);
            let unit = if 4 * length < HUGE_PAGE { PAGE } else { HUGE_PAGE };
            assert_eq!((pages.len(), pages.as_ptr().addr() % unit), (length, 0));
            assert!(pages.iter().all(|&number| number == 0));
            pages.touch();
            assert!(pages.iter().all(|&number| number == 0));
            pages.fill(7);
            let place = pages.as_ptr();
            pages.make_room(length / 2);
            assert_eq!((pages.len(), pages.as_ptr()), (length / 2, place));
            pages.make_room(length);
            assert!(pages.as_ptr() == place && pages.iter().all(|&number| number == 7));
            pages.make_room(4 * length + PAGE);
            assert_eq!((pages.len(), pages.as_ptr().addr() % PAGE), (4 * length + PAGE, 0));
        }
        let mut none = Pages::<f64>::default();
        assert!(none.is_empty());
        none.make_room(3);
        none.copy_from_slice(&[1.0, 2.0, 3.0]);
        assert_eq!(none[..], [1.0, 2.0, 3.0]);
    }
}
