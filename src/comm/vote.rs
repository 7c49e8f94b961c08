//! How an error on one rank becomes the same error on all.

use super::Communicator;
use super::communicator::pack;
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
        let own = outcome.err().filter(|_| failed == self.rank()).map(|error| sendable(error.on_rank(failed)));
        Err(self.broadcast::<Error>(failed, own)?)
    }
}

/// An error that can travel: a path that is not UTF-8 cannot, so such an error gives up its parts and keeps its text.
fn sendable(error: Error) -> Error {
    if pack(&error).is_ok() { error } else { Error::new(error.kind(), error.to_string()) }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn an_error_about_a_path_that_is_not_utf8_can_travel() {
        let error = Error::case("no such file").at_path(OsStr::from_bytes(b"a\xff")).on_rank(3);
        let sent = sendable(error.clone());
        assert!(pack(&error).is_err() && pack(&sent).is_ok());
        assert_eq!((sent.kind(), sent.to_string()), (error.kind(), error.to_string()));
        let plain = Error::case("no such file").at_path("a");
        assert_eq!(sendable(plain.clone()), plain);
    }
}
