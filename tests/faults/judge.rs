//! What became of a run that was hurt: one judgement for all faults.
//!
//! A fault is survived if the run ends with the bits of a run without it, or in an agreed stop with a reason, within its
//! time, with nobody left behind, and with nothing torn under a final name. After an agreed stop the same command without
//! the fault must end in the same bits.

use std::fmt;

use steadfast::checkpoint::Reader;
use steadfast::rundir::Finished;

use super::scene::{Scene, bits};
use super::stage::Ended;

/// How a play ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The result is that of a run without the fault.
    SameBits,
    /// The run stopped with this code and reason, and the same command went on to the same bits.
    AgreedStop(i32, String),
    /// It survived, but another way than the row promises.
    Amiss(String),
    /// It ended in other bits, or without a reason.
    Silent(String),
    /// It did not end.
    Hung(String),
    /// Something damaged bears a final name.
    Torn(String),
    /// Processes outlived it.
    LeftBehind(String),
    /// It cannot be played here.
    Skipped(String),
}

impl Outcome {
    pub fn is_survived(&self) -> bool {
        matches!(self, Outcome::SameBits | Outcome::AgreedStop(..))
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::SameBits => f.write_str("the same bits"),
            Outcome::AgreedStop(code, reason) => write!(f, "an agreed stop with code {code}: {reason}"),
            Outcome::Amiss(what) => write!(f, "not as promised: {what}"),
            Outcome::Silent(what) => write!(f, "silent: {what}"),
            Outcome::Hung(what) => write!(f, "hung: {what}"),
            Outcome::Torn(what) => write!(f, "torn: {what}"),
            Outcome::LeftBehind(what) => write!(f, "left behind: {what}"),
            Outcome::Skipped(why) => write!(f, "skipped: {why}"),
        }
    }
}

/// What a row promises of its fault.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Promise {
    /// The run comes through.
    SameBits,
    /// The run stops with this code.
    Stop(i32),
    /// Either, whichever the moment of the fault allows.
    Either,
}

/// Judges a play and, if it stopped, the one that goes on from it.
pub fn judge(scene: &Scene, ended: Option<Ended>, promise: Promise) -> Outcome {
    let first = judge_once(scene, ended);
    if let Outcome::AgreedStop(..) = first {
        if promise == Promise::SameBits {
            return Outcome::Amiss(first.to_string());
        }
        let again = judge_once(scene, scene.end(scene.launch(&[]).start()));
        if again != Outcome::SameBits {
            return Outcome::Amiss(format!("after {first}, the same command ended otherwise: {again}"));
        }
    }
    match (promise, &first) {
        (Promise::Stop(_), Outcome::SameBits) => Outcome::Amiss("it was to stop, but came through".into()),
        (Promise::Stop(code), Outcome::AgreedStop(other, _)) if code != *other => Outcome::Amiss(first.to_string()),
        _ => first,
    }
}

/// Judges a play by what it left.
pub fn judge_once(scene: &Scene, ended: Option<Ended>) -> Outcome {
    let Some(ended) = ended else {
        let living = scene.living();
        scene.left_behind();
        return Outcome::Hung(format!("the processes {living:?} still lived"));
    };
    let left = scene.left_behind();
    if !left.is_empty() {
        return Outcome::LeftBehind(format!("{left:?}"));
    }
    if let Some(torn) = torn(scene) {
        return Outcome::Torn(torn);
    }
    match ended.code {
        Some(0) if Finished::read(&scene.run()).ok().flatten().is_none() => {
            Outcome::Silent("it calls itself finished, but has no completion record".into())
        }
        Some(0) if bits(&scene.run()) != *scene.whole() => Outcome::Silent("other bits".into()),
        Some(0) => Outcome::SameBits,
        Some(code @ (1 | 2 | 75 | 130)) => match reason(&ended.err) {
            Some(reason) => Outcome::AgreedStop(code, reason),
            None => Outcome::Silent(format!("code {code} without a reason")),
        },
        code => Outcome::Silent(format!("it ended with {code:?}: {}", ended.err)),
    }
}

/// The last word of the supervisor, or of a program without one.
fn reason(told: &str) -> Option<String> {
    let is_word = |line: &&str| line.starts_with("steadfast: ") || line.starts_with("error: ");
    let last = told.lines().rfind(is_word)?;
    Some(last.split_once(": ")?.1.to_owned())
}

/// A checkpoint that bears a final name and is not whole.
fn torn(scene: &Scene) -> Option<String> {
    for entry in scene.run().checkpoints().unwrap_or_default() {
        let report = Reader::open(&entry.path).and_then(|reader| reader.verify());
        match report {
            Ok(report) if report.faults.is_empty() => {}
            Ok(report) => return Some(format!("{}: {} faults", entry.path.display(), report.faults.len())),
            Err(error) => return Some(error.to_string()),
        }
    }
    None
}
