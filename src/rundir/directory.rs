//! Where the files of a run lie, and which run directory belongs to a case or a command.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::orders::{DIRECTORY_VARIABLE, Orders};
use super::replace::{Durability, replace, with_suffix};
use crate::error::{Error, Result};

/// The directory of one run: its paths, and what lies there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDirectory {
    root: PathBuf,
}

/// A complete checkpoint as the directory shows it; what is inside is not looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// The step after which it was taken, from its name.
    pub step: u64,
    /// The file.
    pub path: PathBuf,
    /// The size in bytes.
    pub bytes: u64,
    /// When it was last written to; for people, never for a decision.
    pub modified: SystemTime,
}

impl RunDirectory {
    /// The run directory at `root`, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        RunDirectory { root: root.into() }
    }

    /// The run directory of a case where nothing else is asked for: `path/to/NAME.toml` runs in `NAME.run` in the
    /// current directory.
    pub fn for_case(case: &Path) -> Self {
        let name = case.file_stem().unwrap_or(case.as_os_str());
        let mut name = name.to_owned();
        name.push(".run");
        Self::new(name)
    }

    /// The run directory of a program's run: what `--dir` says, else the environment's STEADFAST_DIR, else the
    /// default of the case.
    pub fn choose(asked: Option<&Path>, case: &Path) -> Self {
        match (asked, std::env::var_os(DIRECTORY_VARIABLE)) {
            (Some(directory), _) => Self::new(directory),
            (None, Some(directory)) if !directory.is_empty() => Self::new(directory),
            _ => Self::for_case(case),
        }
    }

    /// The run directory that a program's command line will use, found as [`RunDirectory::choose`] does.
    ///
    /// # Errors
    ///
    /// A bad command, if it names neither a directory nor a case file (an argument that ends in `.toml`).
    pub fn of_command(command: &[OsString]) -> Result<Self> {
        if let Some(directory) = Self::asked_in(command) {
            return Ok(directory);
        }
        match case_in(command) {
            Some(case) => Ok(Self::choose(None, case)),
            None => match std::env::var_os(DIRECTORY_VARIABLE) {
                Some(directory) if !directory.is_empty() => Ok(Self::new(directory)),
                _ => Err(Error::case(format!(
                    "the command \"{}\" names no case file (NAME.toml), so its run directory is not known",
                    command.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>().join(" ")
                ))
                .hint("name the run directory: steadfast launch --dir DIR -- …")),
            },
        }
    }

    /// The run directory that a command line asks for with its own `--dir`, if it does.
    pub fn asked_in(command: &[OsString]) -> Option<Self> {
        let mut arguments = command.iter().skip(1);
        while let Some(argument) = arguments.next() {
            if argument == "--dir" {
                return arguments.next().map(Self::new);
            }
            if let Some(directory) = argument.to_str().and_then(|argument| argument.strip_prefix("--dir=")) {
                return Some(Self::new(directory));
            }
        }
        None
    }

    /// An existing run directory, for commands that look at a run.
    ///
    /// # Errors
    ///
    /// A bad command, if there is no such directory or it holds no run.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self> {
        let run = Self::new(root);
        if run.checkpoint_directory().is_dir() || run.journal().is_file() {
            return Ok(run);
        }
        let what = if run.root.is_dir() { "holds no run" } else { "does not exist" };
        Err(Error::case(format!("the run directory {} {what}", run.root.display()))
            .hint("a run of NAME.toml lies in NAME.run where it was started, or where --dir said"))
    }

    /// Creates what is missing of the directory and its folders.
    ///
    /// # Errors
    ///
    /// A bad command, if the path is not UTF-8: journal and checkpoints hold it as text. An I/O error that names the
    /// folder: no permission, a read-only or full file system, a file in the way.
    pub fn create(&self) -> Result<()> {
        if self.root.to_str().is_none() {
            return Err(Error::case(format!("the path of the run directory, {:?}, is not UTF-8", self.root))
                .hint("choose another directory: --dir DIR"));
        }
        for folder in [self.root.clone(), self.checkpoint_directory(), self.output_directory()] {
            fs::create_dir_all(&folder).map_err(|cause| {
                Error::io("create the run directory", &folder, &cause)
                    .hint("choose a directory that you may write to: --dir DIR")
            })?;
        }
        Ok(())
    }

    /// Prepares the directory for an attempt; rank 0 calls it, once it holds the lease.
    ///
    /// It creates what is missing, removes the heartbeats of the attempt before, and takes back a stop request that was meant for an earlier attempt. Under a
    /// supervisor that is done before the launch: a request that came since then is meant for us.
    ///
    /// # Errors
    ///
    /// As [`RunDirectory::create`].
    pub fn begin(&self, orders: &Orders) -> Result<()> {
        self.create()?;
        // The ranks of this attempt may be fewer than those of the last.
        remove_if_there(&self.heartbeats(), "remove the heartbeats of the last attempt")?;
        if !orders.supervised() {
            self.withdraw_stop_request()?;
        }
        Ok(())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The case as submitted.
    pub fn case(&self) -> PathBuf {
        self.root.join("case.toml")
    }

    /// Where the checkpoints lie.
    pub fn checkpoint_directory(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    /// Where the outputs lie.
    pub fn output_directory(&self) -> PathBuf {
        self.root.join("output")
    }

    /// The journal.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal.jsonl")
    }

    /// The status file.
    pub fn status(&self) -> PathBuf {
        self.root.join("status.json")
    }

    /// The heartbeats of the ranks.
    pub fn heartbeats(&self) -> PathBuf {
        self.root.join("heartbeats")
    }

    /// The lease of the running attempt.
    pub fn lease(&self) -> PathBuf {
        self.root.join("lease")
    }

    /// The supervisor's own lock.
    pub fn supervisor_lock(&self) -> PathBuf {
        self.root.join("supervisor.lock")
    }

    /// The file whose presence asks the ranks to save and to end: a person's wish, whoever has the run.
    pub fn stop_request(&self) -> PathBuf {
        self.root.join("stop-request")
    }

    /// The file by which a supervisor asks the ranks of one attempt alone. Whoever was cut off and wakes up late asks nobody.
    pub fn stop_request_to(&self, attempt: u32) -> PathBuf {
        self.root.join(format!("stop-request.{attempt}"))
    }

    /// The record of the batch job that has the run.
    pub fn job(&self) -> PathBuf {
        self.root.join("job.json")
    }

    /// The script of the batch job.
    pub fn job_script(&self) -> PathBuf {
        self.root.join("job.sh")
    }

    /// The nodes of the ranks, a line each, for launchers that want them so.
    pub fn host_file(&self) -> PathBuf {
        self.root.join("hostfile")
    }

    /// The completion record.
    pub fn finished(&self) -> PathBuf {
        self.root.join("finished.json")
    }

    /// Where the time went in the last attempt that ended well.
    pub fn times(&self) -> PathBuf {
        self.root.join("times.json")
    }

    /// The final name of the checkpoint taken after `step`.
    pub fn checkpoint_path(&self, step: u64) -> PathBuf {
        self.checkpoint_directory().join(checkpoint_name(step))
    }

    /// The name of the same checkpoint while it is written by the attempt that holds the lease of this epoch.
    pub fn partial_path(&self, step: u64, epoch: u64) -> PathBuf {
        partial_of(&self.checkpoint_path(step), epoch)
    }

    /// The complete checkpoints, newest first; none if there is no directory yet.
    ///
    /// # Errors
    ///
    /// An I/O error, if the directory cannot be read.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointEntry>> {
        checkpoints_in(&self.checkpoint_directory())
    }

    /// The checkpoints that were never committed, newest first: being written, or left by a dead attempt.
    ///
    /// # Errors
    ///
    /// As [`RunDirectory::checkpoints`].
    pub fn partials(&self) -> Result<Vec<CheckpointEntry>> {
        entries_named(&self.checkpoint_directory(), step_of_partial)
    }

    /// The fields that were written for analysis, newest first.
    ///
    /// # Errors
    ///
    /// As [`RunDirectory::checkpoints`].
    pub fn outputs(&self) -> Result<Vec<CheckpointEntry>> {
        entries_named(&self.output_directory(), step_of)
    }

    /// Removes what dead attempts left half written; for the holder of the lease alone.
    ///
    /// # Errors
    ///
    /// An I/O error, if something cannot be listed or removed.
    pub fn sweep(&self) -> Result<()> {
        for folder in [self.checkpoint_directory(), self.output_directory()] {
            let refused =
                |cause: std::io::Error| Error::io("remove what a dead attempt left half written", &folder, &cause);
            for entry in fs::read_dir(&folder).map_err(refused)? {
                let path = entry.map_err(refused)?.path();
                if path.as_os_str().as_encoded_bytes().ends_with(PARTIAL.as_bytes()) {
                    match fs::remove_file(&path) {
                        // An old attempt that wakes up late removes its own.
                        Err(cause) if cause.kind() == ErrorKind::NotFound => {}
                        removed => removed.map_err(refused)?,
                    }
                }
            }
        }
        Ok(())
    }

    /// Asks whoever has the run to save and to end with code 75, for good; `why` is for whoever looks.
    ///
    /// # Errors
    ///
    /// An I/O error, if the request cannot be written.
    pub fn request_stop(&self, why: &str) -> Result<()> {
        ask_to_stop(&self.stop_request(), why)
    }

    /// Asks the ranks of one attempt to save and to end.
    ///
    /// # Errors
    ///
    /// As [`RunDirectory::request_stop`].
    pub fn request_stop_of(&self, attempt: u32, why: &str) -> Result<()> {
        ask_to_stop(&self.stop_request_to(attempt), why)
    }

    /// Takes back what one attempt was asked.
    ///
    /// # Errors
    ///
    /// As [`RunDirectory::withdraw_stop_request`].
    pub fn withdraw_stop_request_to(&self, attempt: u32) -> Result<()> {
        remove_if_there(&self.stop_request_to(attempt), "remove a stop request")
    }

    /// Takes a stop request back, if there is one.
    ///
    /// # Errors
    ///
    /// An I/O error, if it is there and cannot be removed: the attempt would stop at once.
    pub fn withdraw_stop_request(&self) -> Result<()> {
        remove_if_there(&self.stop_request(), "remove an old stop request")
    }
}

fn ask_to_stop(path: &Path, why: &str) -> Result<()> {
    replace(path, &format!("{why}\n"), Durability::Passing)
        .map_err(|cause| Error::io("ask the ranks to stop", path, &cause))
}

fn remove_if_there(path: &Path, doing: &str) -> Result<()> {
    match fs::remove_file(path) {
        Err(cause) if cause.kind() != ErrorKind::NotFound => Err(Error::io(doing, path, &cause)),
        _ => Ok(()),
    }
}

/// The complete checkpoints in a folder, newest first; none if there is no such folder.
///
/// # Errors
///
/// An I/O error, if the folder cannot be read.
pub fn checkpoints_in(folder: &Path) -> Result<Vec<CheckpointEntry>> {
    entries_named(folder, step_of)
}

/// The files of a folder whose names have a step, newest first; none if there is no such folder yet.
fn entries_named(folder: &Path, step_of: impl Fn(&str) -> Option<u64>) -> Result<Vec<CheckpointEntry>> {
    let refused = |cause: std::io::Error| Error::io("list the directory", folder, &cause);
    let listing = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listing => listing.map_err(refused)?,
    };
    let mut found = Vec::new();
    for entry in listing {
        let entry = entry.map_err(refused)?;
        let Some(step) = entry.file_name().to_str().and_then(&step_of) else { continue };
        match entry.metadata() {
            Ok(metadata) => found.push(CheckpointEntry {
                step,
                path: entry.path(),
                bytes: metadata.len(),
                modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
            }),
            // Retention or a commit took it away between the two calls.
            Err(cause) if cause.kind() == ErrorKind::NotFound => {}
            Err(cause) => return Err(refused(cause)),
        }
    }
    found.sort_by_key(|entry| std::cmp::Reverse(entry.step));
    Ok(found)
}

/// The case file that a program's command line names: its first argument that ends in `.toml`.
pub fn case_in(command: &[OsString]) -> Option<&Path> {
    // The value of `--set key=value` may itself end in `.toml`.
    let is_case = |pair: &&[OsString]| {
        let argument = pair[1].to_string_lossy();
        argument.ends_with(".toml") && !argument.starts_with("--") && pair[0] != "--set"
    };
    command.windows(2).find(is_case).map(|pair| Path::new(&pair[1]))
}

/// What the name of a file ends with while it is written.
const PARTIAL: &str = ".partial";

/// The path of a file while it is written, of which each epoch has its own: what an old attempt that wakes up late renames
/// or removes by this name can only be what it wrote itself.
pub fn partial_of(path: &Path, epoch: u64) -> PathBuf {
    with_suffix(path, &format!(".{epoch}{PARTIAL}"))
}

/// The step in a name that [`partial_of`] gives; none in any other.
fn step_of_partial(name: &str) -> Option<u64> {
    let (name, epoch) = name.strip_suffix(PARTIAL)?.rsplit_once('.')?;
    epoch.parse::<u64>().ok().and_then(|_| step_of(name))
}

/// The file name of the checkpoint taken after a step: names sort as steps do.
pub fn checkpoint_name(step: u64) -> String {
    format!("step-{step:010}.h5")
}

/// The step in a file name that [`checkpoint_name`] gives; none in any other.
pub fn step_of(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.strip_suffix(".h5")?.parse().ok()?;
    (checkpoint_name(step) == name).then_some(step)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    fn command(line: &str) -> Vec<OsString> {
        line.split(' ').map(OsString::from).collect()
    }

    #[test]
    fn names_and_steps_correspond() {
        for step in [0, 42, 9_999_999_999, u64::MAX] {
            assert_eq!(step_of(&checkpoint_name(step)), Some(step));
        }
        for name in ["step-42.h5", "step-+000000042.h5", "step-0000000042.h5.3.partial", "other.h5"] {
            assert_eq!(step_of(name), None, "{name}");
        }
        assert_eq!(step_of_partial("step-0000000042.h5.3.partial"), Some(42));
        for name in ["step-0000000042.h5.partial", "step-0000000042.h5", "step-0000000042.h5.x.partial", "3.partial"] {
            assert_eq!(step_of_partial(name), None, "{name}");
        }
    }

    #[test]
    fn a_sweep_takes_what_is_half_written_and_nothing_else() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        run.create().unwrap();
        for path in [
            run.partial_path(3, 1),
            run.checkpoint_path(2),
            run.output_directory().join("step-0000000001.h5.1.partial"),
        ] {
            fs::write(path, "x").unwrap();
        }
        run.sweep().unwrap();
        assert!(run.partials().unwrap().is_empty() && run.checkpoint_path(2).exists());
        assert_eq!(fs::read_dir(run.output_directory()).unwrap().count(), 0);
    }

    #[test]
    fn a_case_runs_beside_where_it_is_started() {
        assert_eq!(RunDirectory::for_case(Path::new("cases/heat.toml")).root(), Path::new("heat.run"));
    }

    #[test]
    fn a_command_tells_its_run_directory() {
        for (line, directory) in [
            ("heat run heat.toml", "heat.run"),
            ("heat run a/b.toml --set n=4", "b.run"),
            ("heat run --set file=x.toml heat.toml", "heat.run"),
            ("heat run heat.toml --dir here", "here"),
            ("heat run --dir=there heat.toml", "there"),
        ] {
            assert_eq!(RunDirectory::of_command(&command(line)).unwrap().root(), Path::new(directory), "{line}");
        }
        let error = RunDirectory::of_command(&command("heat --help")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn checkpoints_come_newest_first_and_foreign_files_are_passed_over() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(run.checkpoints().unwrap(), []);
        run.create().unwrap();
        for step in [5, 12_345_678_901, 70] {
            fs::write(run.checkpoint_path(step), "x").unwrap();
        }
        fs::write(run.partial_path(99, 7), "x").unwrap();
        for name in ["step-7.h5", "step-+000000007.h5", "step-0000000007.h5.bad", "note.txt"] {
            fs::write(run.checkpoint_directory().join(name), "x").unwrap();
        }
        let steps: Vec<_> = run.checkpoints().unwrap().iter().map(|entry| entry.step).collect();
        assert_eq!(steps, [12_345_678_901, 70, 5]);
        assert_eq!(run.partials().unwrap()[0].step, 99);
    }

    #[test]
    fn a_stop_request_can_be_made_and_taken_back() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        run.request_stop("a test").unwrap();
        assert!(run.stop_request().exists());
        run.withdraw_stop_request().unwrap();
        run.withdraw_stop_request().unwrap();
        assert!(!run.stop_request().exists());
    }

    #[test]
    fn a_path_that_no_text_can_hold_is_refused_before_anything_is_made() {
        let room = tempfile::tempdir().unwrap();
        let root = room.path().join(OsStr::from_bytes(b"caf\xe9.run"));
        let error = RunDirectory::new(&root).create().unwrap_err();
        assert!(error.exit_code() == 2 && error.message().contains(r"caf\xE9.run"), "{error}");
        assert!(!root.exists());
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = RunDirectory::new("/proc/steadfast.run").create().unwrap_err();
        assert!(error.to_string().contains("/proc/steadfast.run"), "{error}");
        assert!(RunDirectory::open("/proc/steadfast.run").unwrap_err().message().contains("does not exist"));
    }
}
