//! MPI: who may call it, when it starts and ends, and what becomes of its return codes.
//!
//! [`Environment`] is MPI between init and finalize. Every handle holds it, so that finalize comes after the last handle
//! is freed. It stays on the thread that started it (`Rc` is not `Send`), which is what `MPI_THREAD_FUNNELED` asks for.

mod communicator;
mod messages;
mod parcels;
mod slots;

use std::ffi::{c_char, c_int, c_void};
use std::ptr;
use std::rc::Rc;

use mpi::ffi;

pub(crate) use communicator::{Communicator, Operation, Reduced};
pub(crate) use messages::{Messages, Transport};
pub(crate) use parcels::Parcels;

use crate::error::{Error, Kind, Result};

/// Room for any string that MPI returns: MPICH's longest has 8192 bytes, Open MPI's 256.
const LONGEST_STRING: usize = 8192;

/// MPI between init and finalize; dropped with its last handle.
#[derive(Debug)]
pub(crate) struct Environment(());

impl Environment {
    /// Starts MPI for one thread of this process.
    pub fn start() -> Result<Rc<Self>> {
        if flag(ffi::MPI_Initialized) {
            return Err(Error::new(Kind::Mpi, "MPI has been started already in this process; it starts only once"));
        }
        let mut provided = 0;
        // SAFETY: MPI is not initialised; null stands for the arguments since MPI-2, and `provided` outlives the call.
        let code = unsafe {
            ffi::MPI_Init_thread(ptr::null_mut(), ptr::null_mut(), ffi::RSMPI_THREAD_FUNNELED, &raw mut provided)
        };
        check("MPI_Init_thread", code)?;
        let environment = Rc::new(Environment(()));
        // SAFETY: a constant of the MPI library.
        let wanted = unsafe { ffi::RSMPI_THREAD_FUNNELED };
        if provided < wanted {
            return Err(Error::new(Kind::Mpi, "MPI allows no second thread in this process, not even one without MPI"));
        }
        // SAFETY: MPI is initialised; both handles are constants of the library.
        let code = unsafe { ffi::MPI_Comm_set_errhandler(ffi::RSMPI_COMM_WORLD, ffi::RSMPI_ERRORS_RETURN) };
        check("MPI_Comm_set_errhandler", code)?;
        Ok(environment)
    }
}

impl Drop for Environment {
    fn drop(&mut self) {
        if std::thread::panicking() {
            abort(101);
        }
        // SAFETY: MPI is initialised, and every handle held this environment, so that none is left. Nobody can act on an
        // error any more.
        unsafe { ffi::MPI_Finalize() };
    }
}

/// The rank in the world, while MPI runs.
pub(crate) fn world_rank() -> Option<usize> {
    if !is_running() {
        return None;
    }
    let mut rank = 0;
    // SAFETY: MPI is running; `rank` outlives the call.
    let code = unsafe { ffi::MPI_Comm_rank(ffi::RSMPI_COMM_WORLD, &raw mut rank) };
    check("MPI_Comm_rank", code).ok().map(|()| rank as usize)
}

/// Ends the processes of all ranks with an exit code; only this one if MPI is not running.
pub(crate) fn abort(code: i32) -> ! {
    if is_running() {
        // SAFETY: MPI is running; the call ends this process.
        unsafe { ffi::MPI_Abort(ffi::RSMPI_COMM_WORLD, code) };
    }
    std::process::exit(code)
}

/// The name and version of the MPI library, as in `Open MPI v4.1.4` and `MPICH 4.0.2`.
pub(crate) fn version() -> Result<String> {
    // SAFETY: allowed at any time; the buffer is longer than any string of MPI.
    string("MPI_Get_library_version", |text, length| unsafe { ffi::MPI_Get_library_version(text, length) })
        .map(|text| short_version(&text))
}

/// The first words of what the library says about itself, of which there may be many lines.
fn short_version(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    let name = line.split(',').next().unwrap_or_default();
    name.split_whitespace().filter(|word| *word != "Version:").collect::<Vec<_>>().join(" ")
}

/// The name of the node that this process runs on.
pub(crate) fn node_name() -> Result<String> {
    // SAFETY: MPI is running, as the caller has a communicator; the buffer is longer than any string of MPI.
    string("MPI_Get_processor_name", |text, length| unsafe { ffi::MPI_Get_processor_name(text, length) })
}

/// Turns a return code into an error that names the call and says what MPI says.
fn check(call: &str, code: c_int) -> Result<()> {
    if code == ffi::MPI_SUCCESS as c_int {
        return Ok(());
    }
    // SAFETY: any code may be asked about; the buffer is longer than any string of MPI.
    let reason = string("MPI_Error_string", |text, length| unsafe { ffi::MPI_Error_string(code, text, length) });
    let reason = reason.unwrap_or_else(|_| format!("error code {code}"));
    Err(Error::new(Kind::Mpi, format!("{call} failed: {reason}")))
}

/// The address of a buffer as MPI wants it: null if it is empty.
///
/// The address of an empty slice of bytes is 1 in Rust, which is `MPI_IN_PLACE` in Open MPI.
fn address<T>(buffer: &[T]) -> *const c_void {
    if buffer.is_empty() { ptr::null() } else { buffer.as_ptr().cast() }
}

/// The address of a buffer to be written, as [`address`].
fn address_mut<T>(buffer: &mut [T]) -> *mut c_void {
    if buffer.is_empty() { ptr::null_mut() } else { buffer.as_mut_ptr().cast() }
}

fn is_running() -> bool {
    flag(ffi::MPI_Initialized) && !flag(ffi::MPI_Finalized)
}

fn flag(ask: unsafe extern "C" fn(*mut c_int) -> c_int) -> bool {
    let mut flag = 0;
    // SAFETY: MPI_Initialized and MPI_Finalized may be called at any time; `flag` outlives the call.
    unsafe { ask(&raw mut flag) };
    flag != 0
}

fn string(call: &str, get: impl FnOnce(*mut c_char, *mut c_int) -> c_int) -> Result<String> {
    let mut text = vec![0u8; LONGEST_STRING];
    let mut length = 0;
    let code = get(text.as_mut_ptr().cast(), &raw mut length);
    if code != ffi::MPI_SUCCESS as c_int {
        return Err(Error::new(Kind::Mpi, format!("{call} failed: error code {code}")));
    }
    text.truncate(usize::try_from(length).unwrap_or(0));
    Ok(String::from_utf8_lossy(&text).trim_end_matches('\0').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_short_for_both_libraries() {
        assert_eq!(short_version("Open MPI v4.1.4, package: Debian OpenMPI, ident: 4.1.4"), "Open MPI v4.1.4");
        assert_eq!(short_version("MPICH Version:\t4.0.2\nMPICH Release date:\tThu Apr  7"), "MPICH 4.0.2");
    }
}
