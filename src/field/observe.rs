//! Who looks at values while they are computed.

use super::Record;

/// Looks at values as they are computed.
///
/// A loop over vectors of them works on a clone, which takes the observer's place when it is done: so what is noted can stay in
/// registers (a sweep in the caches took 1.15 times as long without, measured). To clone it should cost little.
pub trait Observe<S: Record>: Clone {
    /// Sees so many values, at most [`LANES`](super::LANES); `get(i)` is number `i` of them.
    ///
    /// It sees each value that a sweep computes, those of ghosts too, and those of some cells twice. It is called in the
    /// loop that computes them, and where there are [`LANES`](super::LANES) of them, it had better do with each what vectors can
    /// do with all.
    fn see(&mut self, length: usize, get: impl Fn(usize) -> S);
}

impl<S: Record> Observe<S> for () {
    #[inline(always)]
    fn see(&mut self, _: usize, _: impl Fn(usize) -> S) {}
}
