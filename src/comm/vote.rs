//! How an error on one rank becomes the same error on all.

use super::Communicator;
use crate::error::{Error, Result};

impl Communicator {
    /// Agrees on success: the own value if every rank passes `Ok`, else the error of the lowest rank that failed.
    ///
    /// While all is well it costs one reduction of one number.
    ///
    /// # Collective
    ///
    /// # Errors
    /// The agreed one, with the rank where it happened; if MPI fails, the own one or that of MPI.
    ///
    /// # Example
    /// ```no_run
    /// # fn example(communicator: &steadfast::comm::Communicator) -> steadfast::Result<()> {
    /// let opened = std::fs::File::open("terrain.h5")
    ///     .map_err(|cause| steadfast::Error::io("open the terrain", "terrain.h5", &cause));
    /// let file = communicator.vote(opened)?; // every rank goes on, or every rank returns
    /// # Ok(()) }
    /// ```
    pub fn vote<T>(&self, outcome: Result<T>) -> Result<T> {
        let own = if outcome.is_ok() { self.size() } else { self.rank() };
        let mut failed = [own as i64];
        if let Err(broken) = self.min_i64(&mut failed) {
            // The ranks cannot be asked any more; the own reason says more than that.
            return outcome.and(Err(broken));
        }
        let failed = failed[0] as usize;
        if failed == self.size() {
            return outcome;
        }
        let own = outcome.err().filter(|_| failed == self.rank()).map(|error| error.on_rank(failed));
        Err(self.broadcast::<Error>(failed, own)?)
    }
}
