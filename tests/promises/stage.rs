//! A room for one test: cases, run directories, and the programs that are called in it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steadfast::checkpoint::{Header, Reader};
use steadfast::rundir::{Event, Finished, HeartbeatRecord, Journal, RunDirectory};

/// No call takes so long, even with many ranks on few busy cores; one that does hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A case of Gray and Scott's reaction and diffusion with steps of one second; `rest` are the keys of what it writes.
pub fn gray_scott(cells: [usize; 2], block: [usize; 2], end: f64, rest: &str) -> String {
    format!(
        r#"
[grid]
cells = {cells:?}
block = {block:?}
lower = -0.5
upper = 0.5
[model]
diffusivity = [2e-5, 1e-5]
feed = 0.037
kill = 0.060
seed = 1
[time]
end = {end:?}
step = 1.0
integrator = "forward_euler"
{}
"#,
        rest.trim()
    )
}

static TURN: Mutex<()> = Mutex::new(());

/// A directory for one test, and its turn: as long as it lives no other test runs anything.
pub struct Room {
    directory: tempfile::TempDir,
    calls: AtomicUsize,
    _turn: MutexGuard<'static, ()>,
}

impl Room {
    pub fn new() -> Room {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        Room { directory: tempfile::tempdir().unwrap(), calls: AtomicUsize::new(0), _turn: turn }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a case file.
    pub fn case(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn run(&self, name: &str) -> RunDirectory {
        RunDirectory::new(self.path(name))
    }

    /// A program alone, in this room.
    pub fn alone(&self, program: &str) -> Call<'_> {
        self.call(Command::new(find(program)), program.to_owned())
    }

    /// The tool.
    pub fn tool(&self) -> Call<'_> {
        self.call(Command::new(env!("CARGO_BIN_EXE_steadfast")), "steadfast".into())
    }

    /// A program on a number of ranks.
    pub fn on(&self, ranks: usize, program: &str) -> Call<'_> {
        let launcher = std::env::var("MPIEXEC").unwrap_or("mpirun".into());
        let mut command = Command::new(launcher);
        command.args(["-n", &ranks.to_string()]).arg(find(program));
        self.call(command, format!("{program} on {ranks} ranks"))
    }

    /// A program under the supervisor.
    pub fn supervised(&self, ranks: usize, options: &[&str], program: &str) -> Call<'_> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        command.args(["launch", "-n", &ranks.to_string()]).args(options);
        if let (Ok(launcher), false) = (std::env::var("MPIEXEC"), options.contains(&"--launcher")) {
            command.args(["--launcher", &launcher]);
        }
        command.arg("--").arg(find(program));
        self.call(command, format!("{program} supervised on {ranks} ranks"))
    }

    /// A program on one rank for each of these nodes, as in `a,a,b`: they are groups of ranks on this machine.
    pub fn on_nodes(&self, nodes: &str, program: &str) -> Call<'_> {
        let wrapped = self.wrapped_for_nodes(program);
        let launcher = std::env::var("MPIEXEC").unwrap_or("mpirun".into());
        let mut command = Command::new(launcher);
        command.args(["-n", &nodes.split(',').count().to_string()]).arg(wrapped);
        self.call(command, format!("{program} on nodes {nodes}")).env("NODES", nodes)
    }

    /// The same under the supervisor.
    pub fn supervised_on_nodes(&self, nodes: &str, program: &str) -> Call<'_> {
        let wrapped = self.wrapped_for_nodes(program);
        let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
        command.args(["launch", "-n", &nodes.split(',').count().to_string()]);
        if let Ok(launcher) = std::env::var("MPIEXEC") {
            command.args(["--launcher", &launcher]);
        }
        command.arg("--").arg(wrapped);
        self.call(command, format!("{program} supervised on nodes {nodes}")).env("NODES", nodes)
    }

    /// A script that names the node of its rank and becomes the program.
    fn wrapped_for_nodes(&self, program: &str) -> PathBuf {
        let path = self.path(&format!("{program}.sh"));
        let script = format!(
            "#!/bin/sh\nrank=${{OMPI_COMM_WORLD_RANK:-$PMI_RANK}}\nSTEADFAST_NODE=$(echo $NODES | cut -d, -f$((rank + 1)))\n\
             export STEADFAST_NODE\nexec '{}' \"$@\"\n",
            find(program).display()
        );
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    fn call(&self, mut command: Command, what: String) -> Call<'_> {
        // Open MPI refuses root and more ranks than cores unless it is told, and starts sooner if it need not look for
        // a network; others ignore this.
        let variables = [
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
            ("OMPI_MCA_btl", "self,vader"),
            ("OMPI_MCA_pml", "ob1"),
        ];
        command.envs(variables).current_dir(self.directory.path()).stdin(Stdio::null());
        Call { room: self, command, what }
    }
}

/// Where a program lies: an example, or what a path names.
pub fn find(program: &str) -> PathBuf {
    if program.contains('/') {
        return program.into();
    }
    let this = std::env::current_exe().expect("this test has a path");
    let examples = this.ancestors().nth(2).expect("tests lie in PROFILE/deps").join("examples");
    let path = examples.join(program);
    assert!(path.is_file(), "{} is not there; `cargo build --examples` builds it", path.display());
    path
}

/// An example's own case file.
pub fn example(name: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("toml");
    path.to_str().unwrap().to_owned()
}

/// A command line that is to be run.
pub struct Call<'r> {
    room: &'r Room,
    command: Command,
    what: String,
}

impl<'r> Call<'r> {
    /// `run CASE --dir DIR`, without progress.
    pub fn runs(self, case: &str, directory: &str) -> Self {
        self.args(&["run", case, "--dir", directory, "--quiet"])
    }

    pub fn args(mut self, arguments: &[&str]) -> Self {
        self.command.args(arguments);
        self.what = format!("{} {}", self.what, arguments.join(" "));
        self
    }

    /// `--set` for each of these.
    pub fn set(mut self, settings: &[&str]) -> Self {
        for setting in settings {
            self = self.args(&["--set", setting]);
        }
        self
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The same command line under a wrapper, as in `prlimit --fsize=1000`.
    pub fn under(self, wrapper: &str, options: &[&str]) -> Self {
        let mut command = Command::new(wrapper);
        command.args(options).arg(self.command.get_program()).args(self.command.get_args());
        self.room.call(command, format!("{wrapper} {}", self.what))
    }

    pub fn start(mut self) -> Running {
        let number = self.room.calls.fetch_add(1, Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|name| self.room.path(&format!("{number}.{name}")));
        let create = |path: &Path| fs::File::create(path).unwrap();
        self.command.stdout(create(&out)).stderr(create(&err));
        let child = self.command.spawn().unwrap_or_else(|cause| panic!("{} does not start: {cause}", self.what));
        Running { child, what: self.what, out, err }
    }

    /// Runs it to its end.
    pub fn end(self) -> Ended {
        self.start().end()
    }

    /// Runs it to its end, which must have this exit code.
    pub fn ends_with(self, code: i32) -> Ended {
        self.start().ends_with(code)
    }
}

/// A command line that runs; it is ended when nobody waits for it any more.
pub struct Running {
    child: Child,
    what: String,
    out: PathBuf,
    err: PathBuf,
}

impl Running {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub fn end(mut self) -> Ended {
        let start = Instant::now();
        while !self.has_ended() {
            assert!(start.elapsed() < LIMIT, "{} did not end within {LIMIT:?}\n{}", self.what, self.told());
            std::thread::sleep(Duration::from_millis(2));
        }
        let code = self.child.wait().unwrap().code();
        let read = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
        Ended { code, out: read(&self.out), err: read(&self.err), what: self.what.clone() }
    }

    pub fn ends_with(self, code: i32) -> Ended {
        let ended = self.end();
        assert_eq!(ended.code, Some(code), "{}\n{}{}", ended.what, ended.out, ended.err);
        ended
    }

    /// Waits for something that the command line brings about while it runs.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut() -> bool) {
        let start = Instant::now();
        while !condition() {
            let still = !self.has_ended() || condition();
            assert!(still, "{} ended, and was never seen to have: {what}\n{}", self.what, self.told());
            assert!(start.elapsed() < LIMIT, "{} was never seen to have: {what}\n{}", self.what, self.told());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    pub fn told(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            // A launcher that is asked takes its ranks along.
            self.signal(Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(500));
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a command line left.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
    pub what: String,
}

impl Ended {
    /// The one error that was told, from `error:` to its hint; there must be exactly one.
    pub fn error(&self) -> &str {
        let mut errors =
            self.err.match_indices("error: ").filter(|&(at, _)| at == 0 || self.err.as_bytes()[at - 1] == b'\n');
        let (at, _) = errors.next().unwrap_or_else(|| panic!("{} told no error:\n{}", self.what, self.err));
        assert!(errors.next().is_none(), "{} told more than one error:\n{}", self.what, self.err);
        &self.err[at..]
    }
}

/// Waits for a condition.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "never seen: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub fn events(run: &RunDirectory) -> Vec<Event> {
    Journal::read(run).unwrap().into_iter().map(|entry| entry.event).collect()
}

/// The hash of the final state.
pub fn hash(run: &RunDirectory) -> u64 {
    let record = Finished::read(run).unwrap();
    record.unwrap_or_else(|| panic!("{} has no completion record", run.root().display())).state_hash
}

/// The table of totals as it lies in the file.
pub fn totals(run: &RunDirectory) -> String {
    fs::read_to_string(run.output_directory().join("totals.csv")).unwrap()
}

/// The numbers of the last row of totals: step, time, then integral, minimum and maximum of each component.
pub fn last_totals(run: &RunDirectory) -> Vec<f64> {
    let totals = totals(run);
    totals.lines().last().unwrap().split(',').map(|number| number.parse().unwrap()).collect()
}

/// A component of the newest checkpoint, whole, x fastest.
pub fn component(run: &RunDirectory, name: &str) -> Vec<f64> {
    let newest = run.checkpoints().unwrap().remove(0);
    let reader = Reader::open(newest.path).unwrap();
    reader.values(reader.component(name).unwrap(), &reader.all_cells()).unwrap().into_iter().collect()
}

/// What all ranks of a program hold alike in the newest checkpoint.
pub fn shared(run: &RunDirectory) -> serde_json::Value {
    let newest = run.checkpoints().unwrap().remove(0);
    Reader::open(newest.path).unwrap().header().replicated[Header::SHARED].clone()
}

/// Where each attempt began, as the ranks journalled it.
pub fn starts(run: &RunDirectory) -> Vec<Option<u64>> {
    let start = |event| match event {
        Event::Started { resumed_from, .. } => Some(resumed_from),
        _ => None,
    };
    events(run).into_iter().filter_map(start).collect()
}

/// The processes that show themselves as ranks of this attempt.
pub fn ranks(run: &RunDirectory, attempt: u32) -> Vec<HeartbeatRecord> {
    HeartbeatRecord::read_all(run, attempt).unwrap_or_default()
}

pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(')').next().and_then(|rest| rest.trim_start().chars().next()).is_some_and(|state| state != 'Z')
}

/// Copies a run directory.
pub fn copy(from: &RunDirectory, to: &RunDirectory) {
    to.create().unwrap();
    for folder in ["", "checkpoints", "output"] {
        for entry in fs::read_dir(from.root().join(folder)).unwrap().map(Result::unwrap) {
            if entry.file_type().unwrap().is_file() {
                fs::copy(entry.path(), to.root().join(folder).join(entry.file_name())).unwrap();
            }
        }
    }
}

/// Flips one bit of a file.
pub fn flip_bit(path: &Path, byte: u64) {
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut one = [0];
    file.read_exact_at(&mut one, byte).unwrap();
    file.write_all_at(&[one[0] ^ 0x10], byte).unwrap();
}

/// A small file system of its own, until the end of the test.
pub struct Disk(PathBuf);

impl Disk {
    /// Mounts it, where that is allowed: it takes root.
    pub fn mount(path: &Path, bytes: u64) -> Option<Disk> {
        fs::create_dir_all(path).unwrap();
        let size = format!("size={bytes}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path).output();
        if !mounted.is_ok_and(|output| output.status.success()) {
            eprintln!("skipped: mounting a small disk is not allowed here");
            return None;
        }
        Some(Disk(path.to_owned()))
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
