//! The table `[guard]`: what is watched for bits that flip.

use super::keys::{Table, Word};
use super::schedule::Schedule;
use crate::error::Result;

/// The keys of `[guard]`.
pub(super) const GUARD_KEYS: [&str; 2] = ["checksums", "every"];

/// What is watched for bits that flip in memory or on the way between ranks; never changes the bits of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// What is under checksums.
    pub checksums: Checksums,
    /// The blocks' memory is under checksums after every so many steps until the next begins.
    pub steps: u64,
}

/// What is under checksums while a run computes; files always are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checksums {
    /// Nothing.
    None,
    /// Each message of halos, from one rank to another.
    Messages,
    /// The memory of each block, from the end of a step to the start of the next.
    Blocks,
    /// Messages and blocks.
    All,
}

impl Checksums {
    /// Whether messages are.
    pub fn of_messages(self) -> bool {
        matches!(self, Checksums::Messages | Checksums::All)
    }

    /// Whether blocks are.
    pub fn of_blocks(self) -> bool {
        matches!(self, Checksums::Blocks | Checksums::All)
    }
}

impl Word for Checksums {
    const CHOICE: &'static str = "a choice of checksums";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Checksums::None),
        ("messages", Checksums::Messages),
        ("blocks", Checksums::Blocks),
        ("all", Checksums::All),
    ];
}

/// Checks the table; blocks alone have a schedule.
pub(super) fn check_guard(guard: &Table<'_>) -> Result<Guard> {
    let checksums = guard.get("checksums").map_or(Ok(Checksums::None), |value| value.word())?;
    let steps = match guard.get("every") {
        None => 1,
        Some(value) if !checksums.of_blocks() => {
            let rule = format!("is of no use: it is for blocks, and guard.checksums is {:?}", checksums.word());
            return Err(value.wrong(&rule).hint("leave every out, or use checksums = \"blocks\" or \"all\""));
        }
        Some(value) => match Schedule::read(&value)? {
            Schedule::Steps(steps) => steps,
            _ => return Err(value.wrong("must count steps").hint("as in { steps = 10 }")),
        },
    };
    Ok(Guard { checksums, steps })
}

/// The table of a guard; of a schedule only where there is one.
pub(super) fn write_guard(guard: &Guard) -> toml::Table {
    let every = guard.checksums.of_blocks().then(|| ("every", Schedule::Steps(guard.steps).written()));
    let checksums = ("checksums", guard.checksums.word().into());
    [checksums].into_iter().chain(every).map(|(key, value)| (key.to_owned(), value)).collect()
}
