//! Listens to what a child says on its stderr, without keeping it from anybody else.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::os::fd::BorrowedFd;
use std::process::Child;
use std::sync::mpsc::{Receiver, channel};

/// Whether a child can be overheard and nobody sees the difference: on a terminal it draws what it would not write into a
/// pipe.
pub(crate) fn is_unseen() -> bool {
    !stderr().is_terminal()
}

/// Passes on what a child whose stderr is a pipe says as it comes, and gives each line to whoever wants to know.
///
/// # Errors
/// If the system has no more threads or file descriptors; the child then writes into a pipe that nobody reads.
pub(crate) fn listen(child: &mut Child) -> io::Result<Receiver<String>> {
    let (tell, lines) = channel();
    let Some(pipe) = child.stderr.take() else { return Ok(lines) };
    let mut out = File::from(stderr().try_clone_to_owned()?);
    std::thread::Builder::new().name("overhear".into()).spawn(move || {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        while pipe.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            // Nobody may listen any more, to this or to that: the child must not be held up.
            let _ = out.write_all(&line);
            let _ = tell.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            line.clear();
        }
    })?;
    Ok(lines)
}

/// This process's own stderr.
fn stderr() -> BorrowedFd<'static> {
    // SAFETY: the standard streams are open for the life of the process: Rust's runtime opens what was closed at its start.
    unsafe { BorrowedFd::borrow_raw(2) }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn each_line_is_heard_even_the_last_without_an_end() {
        let mut command = Command::new("sh");
        command.args(["-c", "printf 'one\\ntwo' >&2"]).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let lines: Vec<String> = listen(&mut child).unwrap().iter().collect();
        assert_eq!(lines, ["one", "two"]);
        child.wait().unwrap();
    }
}
