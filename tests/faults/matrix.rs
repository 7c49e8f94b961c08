//! The matrix: every fault that a run must survive, how it is brought about, and how often.

use super::draw::Draw;
use super::judge::{Outcome, Promise, judge};
use super::scene::Scene;
use super::stage::Ended;
use super::{files, people, ranks};

/// A fault that was played.
pub struct Played {
    pub scene: Scene,
    pub outcome: Outcome,
    /// How many faults were injected from outside; those of a plan are counted by the journal.
    pub injected: u64,
    /// From the fault to its detection by somebody without a journal, s.
    pub detected: Option<f64>,
}

impl Played {
    /// A play that has ended, judged by what its row promises.
    pub fn new(scene: Scene, ended: Option<Ended>, promise: Promise) -> Played {
        let outcome = judge(&scene, ended, promise);
        Played { scene, outcome, injected: 0, detected: None }
    }

    pub fn skipped(scene: Scene, why: &str) -> Played {
        Played { scene, outcome: Outcome::Skipped(why.into()), injected: 0, detected: None }
    }

    /// With so many faults that no journal tells of.
    pub fn plus(self, injected: u64) -> Played {
        Played { injected: self.injected + injected, ..self }
    }

    /// Survived, unless something else is wrong.
    pub fn unless(self, wrong: bool, what: &str) -> Played {
        let outcome = if wrong && self.outcome.is_survived() { Outcome::Amiss(what.into()) } else { self.outcome };
        Played { outcome, ..self }
    }
}

/// How a row is proven.
#[derive(Clone, Copy)]
pub enum How {
    /// By a play, drawn from a seed: so many in the short form, and in the long one.
    Play(fn(&Draw) -> Played, u64, u64),
    /// By tests of their own; `long` is set in the long form.
    Tests { target: &'static str, filter: &'static str, long: &'static [(&'static str, &'static str)] },
}

/// A row of the matrix.
#[derive(Clone, Copy)]
pub struct Row {
    pub name: &'static str,
    pub fault: &'static str,
    pub how: How,
}

const fn play(name: &'static str, fault: &'static str, how: fn(&Draw) -> Played, short: u64, long: u64) -> Row {
    Row { name, fault, how: How::Play(how, short, long) }
}

const fn tests(name: &'static str, fault: &'static str, target: &'static str, filter: &'static str) -> Row {
    long(name, fault, target, filter, &[])
}

const fn long(
    name: &'static str,
    fault: &'static str,
    target: &'static str,
    filter: &'static str,
    long: &'static [(&'static str, &'static str)],
) -> Row {
    Row { name, fault, how: How::Tests { target, filter, long } }
}

/// The rows, ranks first, then those around them, then what lies on disk.
pub const ROWS: [Row; 55] = [
    play("kill", "any rank killed in any phase of any step, six attempts in a row", ranks::kill, 2, 60),
    play(
        "kill-checkpoint",
        "a rank killed while a checkpoint is begun, written or committed",
        ranks::kill_in_checkpoint,
        2,
        30,
    ),
    play("kill-two", "two ranks killed in one step", ranks::two_at_once, 1, 10),
    play(
        "kill-recovery",
        "killed again while coming back, and in the first checkpoint after that",
        ranks::during_recovery,
        1,
        20,
    ),
    play("exit", "a rank leaves without a word, with any code", ranks::leave, 1, 20),
    play("error", "an error on one rank before a collective, in any phase", ranks::error, 2, 40),
    play("panic", "a panic on one rank before a collective, in any phase", ranks::panic, 2, 40),
    play("stop", "a rank stopped by job control", ranks::stop, 1, 8),
    play("spin", "a rank that computes for ever", ranks::spin, 1, 5),
    play("lost-message", "a message that is never sent", ranks::lost_message, 1, 5),
    play("slow", "a rank more than ten times slower: named, and not ended", ranks::slow, 1, 3),
    play("poison", "a checkpoint after which the run dies each time", ranks::poison, 1, 10),
    play("no-progress", "a run that dies before its first checkpoint each time", ranks::no_progress, 1, 5),
    play("flip-staging", "a bit flips between checksum and disk", ranks::flip_staging, 1, 20),
    play("other-ranks", "stopped, then gone on with on any number of ranks from 1 to 8", ranks::other_ranks, 1, 30),
    play("supervisor", "the supervisor killed in any phase", people::supervisor, 1, 30),
    play(
        "supervisor-recovery",
        "the supervisor killed while it brings a run back",
        people::supervisor_in_recovery,
        1,
        10,
    ),
    play("launcher", "the launcher killed, four attempts in a row", people::launcher, 1, 10),
    play("shell", "the batch shell killed", people::shell, 1, 5),
    play(
        "signals",
        "SIGTERM, SIGUSR1 or SIGINT, once or twice, in any phase, to a rank or the supervisor",
        people::signals,
        2,
        60,
    ),
    play("time-limit", "limits of wall time, again and again", people::time_limit, 1, 5),
    play("two-launches", "a second launch in the same directory", people::two_launches, 1, 5),
    play("zombie", "an old job stopped, another launched beside it, and the old one woken", people::zombie, 1, 5),
    play("launcher-missing", "a launcher that is not there", people::launcher_missing, 1, 1),
    play("launcher-lies", "a launcher that prints noise and lies about the exit code", people::launcher_lies, 1, 20),
    play("broken-pipe", "nobody reads what is told", people::broken_pipe, 1, 10),
    play("bad-case", "a bad case: told once, never tried again", people::bad_case, 1, 1),
    play("mpirun-alone", "the same kill without a supervisor, for its time", people::mpirun_alone, 1, 10),
    play("kill-calls", "a rank killed at its first call of a kind on any checkpoint", files::killed_at_a_call, 2, 60),
    play(
        "failing-calls",
        "a system call on a checkpoint fails: ENOSPC, EIO, EDQUOT, EINTR, EROFS, EACCES",
        files::failing_call,
        2,
        60,
    ),
    play("slow-disk", "writes and syncs a hundred times slower", files::slow_disk, 1, 5),
    play("disk-full", "the disk fills up, and is cleared or not", files::disk_full, 1, 10),
    play("read-only", "the file system turns read-only, for a while or for good", files::read_only, 1, 10),
    play("directory-vanishes", "the run directory is renamed while the run goes on", files::directory_vanishes, 1, 5),
    play("permission-lost", "the checkpoints' directory may no longer be written to", files::permission_lost, 1, 5),
    play("heartbeats-removed", "the heartbeats removed under the ranks' hands", files::heartbeats_removed, 1, 5),
    play("journal-torn", "a journal cut within a line, or with nonsense in it", files::journal_torn, 1, 20),
    play("diary-replaced", "a directory in the place of journal or status", files::diary_replaced, 1, 10),
    play("planted", "a file that bears a newer checkpoint's name and is none", files::planted, 1, 12),
    play("stale-orders", "leases with nonsense in them, and old requests to stop", files::stale_orders, 1, 12),
    tests("writer-calls", "a writer alone, killed or failed at every system call in turn", "checkpoint_crash", ""),
    tests("power-loss", "what was not synced is lost or torn; calls fail one by one", "lib", "checkpoint::power_loss"),
    long(
        "flips",
        "ten thousand bits flipped, one at a time, anywhere in a checkpoint",
        "checkpoint",
        "every_flipped_bit_is_noticed",
        &[("STEADFAST_FLIPS", "10000")],
    ),
    long(
        "hostile",
        "checkpoints and records made to do harm",
        "hostile",
        "",
        &[("STEADFAST_HOSTILE", "20000"), ("PROPTEST_CASES", "20000")],
    ),
    tests("flip-field", "a bit flips in the state, or in a message on its way", "promises", "corruption"),
    tests("lost-node", "a node is lost with its storage, and its partner too", "promises", "nearby"),
    tests("damage", "checkpoints cut, zeroed, swapped, or all bad", "promises", "damage"),
    tests("foreign", "checkpoints of another program, case, grid or version", "promises", "refusals"),
    tests("pairs", "every pair of numbers of ranks from 1 to 8, before and after", "promises", "restarts"),
    tests("bad-state", "a state that is not finite, or not admissible", "promises", "guard"),
    tests(
        "silent-node",
        "a node that is no longer heard of: ranks whose hearts stand still",
        "lib",
        "supervise::watch",
    ),
    tests(
        "job-node-lost",
        "one or two nodes of a batch job lose their power, with and without spare ones",
        "slurm",
        "lost",
    ),
    tests(
        "job-node-cut",
        "the cable of a node of a batch job is cut, and mended while the run computes elsewhere",
        "slurm",
        "cut",
    ),
    tests(
        "job-node-frozen",
        "a node of a batch job stands still, and wakes while the run computes elsewhere",
        "slurm",
        "frozen",
    ),
    tests("judgement", "what the supervisor decides, with fake ranks and launchers", "supervise", ""),
];
