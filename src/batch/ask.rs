//! Asks a command of the batch system, and does not wait for ever.

use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::error::{Error, Kind, Result};

/// How long a batch system may take to answer: its controller may be busy or just changing hands.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// The time between two looks whether the command has ended.
const LOOK: Duration = Duration::from_millis(2);

/// What a command said, and whether it succeeded.
pub(super) struct Answer {
    pub succeeded: bool,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end, or until the time is over.
pub(super) fn ask(command: &mut Command, limit: Duration) -> Result<Answer> {
    let name = command.get_program().to_string_lossy().into_owned();
    let failed = |what: String| Error::new(Kind::Run, format!("{name} {what}"));
    let spawned = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = spawned.map_err(|cause| {
        failed(format!("cannot be started: {cause}")).hint("is the batch system installed here, and on PATH?")
    })?;
    let out = child.stdout.take().map(collect);
    let err = child.stderr.take().map(collect);
    let end = Instant::now() + limit;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if Instant::now() < end => std::thread::sleep(LOOK),
            ended => {
                // Whoever is killed is gone, or stands in the kernel: neither is waited for.
                let _ = child.kill();
                let _ = child.try_wait();
                return Err(match ended {
                    Err(cause) => failed(format!("cannot be waited for: {cause}")),
                    _ => failed(format!("gave no answer within {} s", limit.as_secs_f64()))
                        .hint("the controller of the batch system may be down: try again later"),
                });
            }
        }
    };
    let text = |reader: Option<std::thread::JoinHandle<String>>| {
        reader.and_then(|reader| reader.join().ok()).unwrap_or_default()
    };
    Ok(Answer { succeeded: status.success(), out: text(out), err: text(err) })
}

/// Reads a pipe to its end, so that whoever writes is not held up.
fn collect(mut pipe: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read before an error is better than nothing.
        let _ = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_answer_has_all_that_was_said_however_long() {
        let answer = ask(&mut shell("seq 100000; echo no >&2; exit 3"), LIMIT).unwrap();
        assert_eq!((answer.succeeded, answer.out.lines().count(), answer.err.as_str()), (false, 100_000, "no\n"));
    }

    #[test]
    fn whoever_does_not_answer_is_not_waited_for() {
        let error = ask(&mut shell("exec sleep 1000"), Duration::from_millis(50)).err().unwrap();
        assert!(error.message().contains("no answer within 0.05 s"), "{error}");
    }

    #[test]
    fn a_command_that_is_missing_is_named() {
        let error = ask(&mut Command::new("no-such-command"), LIMIT).err().unwrap();
        assert!(error.message().starts_with("no-such-command cannot be started"), "{error}");
    }
}
