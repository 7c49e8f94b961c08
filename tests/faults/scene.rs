//! Where a fault is played: a small case in a room of its own, and everything that lives there.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use steadfast::rundir::{Event, RunDirectory};

use super::stage::{self, Call, Ended, Room, Running};

/// How many ranks compute, unless a row says otherwise.
pub const RANKS: usize = 3;
/// The steps of the case, and how often it saves and writes totals.
pub const STEPS: u64 = 200;
pub const EVERY: u64 = 10;

/// As many deaths without progress are allowed as any plan brings about.
pub const PATIENT: [&str; 2] = ["--max-failures-without-progress", "20"];
/// The same, and ranks are taken for hung soon, since the steps of the case take a millisecond.
pub const HASTY: [&str; 4] = ["--max-failures-without-progress", "20", "--hang-after", "1"];

/// A fault that is none: it makes a run slow enough to be seen at work.
pub const SLOWLY: &str = "slow@attempt=any,phase=sweep,ms=1";

/// The environment variable that holds a plan of faults.
pub const PLAN: &str = "STEADFAST_FAULT";

/// Every process of a scene has this in its environment, and so is found wherever it went.
const MARK: &str = "STEADFAST_TEST_MARK";

/// How long a play may take before it counts as hung; with launches that take seconds on a busy machine.
const LIMIT: Duration = Duration::from_secs(90);
/// How long processes may take to vanish once the supervisor is gone.
const BURIAL: Duration = Duration::from_secs(10);

fn case() -> String {
    stage::gray_scott(
        [48, 48],
        [12, 16],
        200.0,
        r#"
[[output]]
what = "totals"
every = { steps = 10 }
[checkpoint]
every = { steps = 10 }
"#,
    )
}

/// What an undisturbed run leaves: the hash of its state and its table of totals.
pub type Bits = (u64, String);

/// A room with the case, and the name by which its processes are known.
pub struct Scene {
    room: Room,
    mark: String,
}

impl Scene {
    pub fn new() -> Scene {
        let room = Room::new();
        room.case("case.toml", &case());
        let mark = room.path("").to_string_lossy().into_owned();
        Scene { room, mark }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.room.path(name)
    }

    /// The run that is disturbed.
    pub fn run(&self) -> RunDirectory {
        self.room.run("hurt")
    }

    /// Its whole path, as the kernel sees it in the calls of ranks.
    fn hurt(&self) -> String {
        self.path("hurt").to_str().expect("a temporary directory has a plain name").to_owned()
    }

    /// The bits of a run without a fault; it is run once for all scenes.
    pub fn whole(&self) -> &'static Bits {
        static WHOLE: OnceLock<Bits> = OnceLock::new();
        WHOLE.get_or_init(|| {
            self.room.alone("gray_scott").runs("case.toml", "whole").ends_with(0);
            bits(&self.room.run("whole"))
        })
    }

    /// The case under the supervisor.
    pub fn launch(&self, options: &[&str]) -> Call<'_> {
        self.launch_as(RANKS, options, "gray_scott")
    }

    /// A program under the supervisor, called as the case's own would be.
    pub fn launch_as(&self, ranks: usize, options: &[&str], program: &str) -> Call<'_> {
        self.marked(self.room.supervised(ranks, options, program).runs("case.toml", &self.hurt()))
    }

    /// The case on ranks without a supervisor.
    pub fn alone(&self) -> Call<'_> {
        self.marked(self.room.on(RANKS, "gray_scott").runs("case.toml", &self.hurt()))
    }

    /// A call whose processes are known as this scene's.
    pub fn marked<'a>(&self, call: Call<'a>) -> Call<'a> {
        call.env(MARK, &self.mark).env("RUST_BACKTRACE", "0")
    }

    /// Plays the case with a plan of faults to its end.
    pub fn play(&self, options: &[&str], plan: &str) -> Option<Ended> {
        self.end(self.launch(options).env(PLAN, plan).start())
    }

    /// Waits for the end; none if it does not come.
    pub fn end(&self, mut running: Running) -> Option<Ended> {
        let start = Instant::now();
        while !running.has_ended() {
            if start.elapsed() > LIMIT {
                return None;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Some(running.end())
    }

    /// Writes an executable script and gives its path.
    pub fn script(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Waits for something that must come before the end of what runs; says whether it did.
    pub fn see(&self, running: &mut Running, condition: impl Fn(&RunDirectory) -> bool) -> bool {
        let (start, run) = (Instant::now(), self.run());
        while start.elapsed() < LIMIT {
            if condition(&run) {
                return true;
            }
            if running.has_ended() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        false
    }

    /// How often its run was launched, by the journal.
    pub fn launches(&self) -> usize {
        stage::events(&self.run()).iter().filter(|event| matches!(event, Event::AttemptLaunched { .. })).count()
    }

    /// The processes of this scene that live now.
    pub fn living(&self) -> BTreeSet<u32> {
        let mark = format!("{MARK}={}", self.mark).into_bytes();
        let numbers = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let marked = |pid: &u32| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|environment| environment.split(|&byte| byte == 0).any(|variable| variable == mark))
        };
        numbers.filter(marked).filter(|&pid| stage::lives(pid)).collect()
    }

    /// Sends a signal to all processes of this scene.
    pub fn signal_all(&self, signal: Signal) {
        for pid in self.living() {
            let _ = kill(Pid::from_raw(pid.cast_signed()), signal);
        }
    }

    /// Whom nobody waits for any more, after a time in which they may vanish; they are ended.
    pub fn left_behind(&self) -> BTreeSet<u32> {
        let start = Instant::now();
        loop {
            let living = self.living();
            if living.is_empty() || start.elapsed() > BURIAL {
                self.signal_all(Signal::SIGKILL);
                return living;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Keeps everything that is here for whoever looks into a failure.
    pub fn keep(&self, name: &str) -> PathBuf {
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("faults").join(name);
        let _ = fs::remove_dir_all(&place);
        fs::create_dir_all(&place).unwrap();
        let _ = std::process::Command::new("cp").arg("-r").arg(self.path(".")).arg(&place).status();
        place
    }
}

/// What a run left, if it left anything.
pub fn bits(run: &RunDirectory) -> Bits {
    (stage::hash(run), stage::totals(run))
}
