//! What survives, and how patiently it is watched: `[checkpoint]` and `[recovery]`, as written → as checked.

use std::time::Duration;

use super::case::{Bounds, Checkpoint, Recovery, StopSignal, Verify};
use super::keys::{Table, Value};
use super::local::{LOCAL_KEYS, check_local};
use super::schedule::{Schedule, read_duration, write_duration};
use crate::error::Result;

/// The bounds of the time between two checkpoints that follows from measurement.
const CHECKPOINT_INTERVAL: Bounds = Bounds { at_least: Duration::from_secs(10), at_most: Duration::from_secs(3600) };

/// The bounds of the time after which ranks that do not move count as hung.
const HANG_AFTER: Bounds = Bounds { at_least: Duration::from_secs(10), at_most: Duration::from_secs(600) };

/// The checked table; `schedule` holds a schedule against the rules of the case's time.
pub(super) fn check_checkpoint(
    checkpoint: &Table<'_>,
    schedule: impl Fn(&Value<'_>) -> Result<Schedule>,
) -> Result<Checkpoint> {
    let every = checkpoint.get("every").filter(|every| !every.is("auto"));
    let every = every.map(|every| schedule(&every)).transpose()?;
    let interval = match checkpoint.get("interval") {
        Some(interval) if every.is_some() => {
            return Err(interval.wrong("is of no use beside a schedule").hint("leave it out, or checkpoint.every"));
        }
        interval => check_bounds(interval.as_ref(), CHECKPOINT_INTERVAL)?,
    };
    let keep = checkpoint.get("keep").map_or(Ok(2), |value| match value.whole(0)? {
        0 | 1 => {
            Err(value.wrong("is too few; it must be at least 2: if the newest is damaged, the one before it is used"))
        }
        keep => Ok(keep as usize),
    })?;
    let local = checkpoint.has("local").then(|| check_local(&checkpoint.table("local", &LOCAL_KEYS)?, schedule));
    Ok(Checkpoint {
        every,
        interval,
        keep,
        verify: checkpoint.get("verify").map_or(Ok(Verify::All), |value| value.word())?,
        local: local.transpose()?,
    })
}

pub(super) fn check_recovery(recovery: &Table<'_>) -> Result<Recovery> {
    let failures = recovery.get("failures_without_progress").map_or(Ok(3), |value| {
        u32::try_from(value.whole(1)?).map_err(|_| value.wrong("is too large; the most is 2^32 - 1"))
    })?;
    let hang_after = match recovery.get("hang_after") {
        Some(value) if !value.is_table() => {
            let at_least = read_duration(&value)?;
            Bounds { at_least, at_most: HANG_AFTER.at_most.max(at_least) }
        }
        value => check_bounds(value.as_ref(), HANG_AFTER)?,
    };
    Ok(Recovery {
        hang_after,
        failures_without_progress: failures,
        fewest_ranks: recovery.get("fewest_ranks").map(|value| Ok(value.whole(1)? as usize)).transpose()?,
        stop_signals: match recovery.get("stop_signals") {
            Some(list) => list.list()?.iter().map(Value::word).collect::<Result<_>>()?,
            None => StopSignal::DEFAULT.to_vec(),
        },
    })
}

/// Spans of wall time as `{ at_least = "10 s", at_most = "1 h" }`; what is not given is as in `default`.
fn check_bounds(bounds: Option<&Value<'_>>, default: Bounds) -> Result<Bounds> {
    let Some(value) = bounds else { return Ok(default) };
    let table = value.table(&["at_least", "at_most"])?;
    let read = |key, default| table.get(key).map_or(Ok(default), |value| read_duration(&value));
    let (at_least, at_most) = (read("at_least", default.at_least)?, read("at_most", default.at_most)?);
    match at_least <= at_most {
        true => Ok(Bounds { at_least, at_most }),
        false => Err(value.wrong(&format!(
            "is empty: at_least = {} is above at_most = {}",
            write_duration(at_least),
            write_duration(at_most)
        ))),
    }
}
