//! The completion record: the one thing that says that a run is finished, since exit codes lie.

use std::io::ErrorKind;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::replace::{Durability, replace};
use crate::error::{Error, Kind, Result};
use crate::sys::files::sync_directory_of;

/// What rank 0 leaves when all ranks have reached the end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// The run's own name.
    pub run_id: String,
    /// The attempt that reached the end.
    pub attempt: u32,
    /// The last step.
    pub step: u64,
    /// The simulated time at the end.
    pub time: f64,
    /// The hash of the final state; equal hashes mean equal bits.
    #[serde(with = "hexadecimal")]
    pub state_hash: u64,
    /// The wall time of the attempt that reached the end, in seconds.
    pub wall_seconds: f64,
    /// When it was written.
    pub at: Timestamp,
}

impl Finished {
    /// Writes the record, on stable storage when it returns.
    ///
    /// # Errors
    ///
    /// An I/O error: without its record a run is not finished.
    pub fn write(&self, run: &RunDirectory) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a completion record holds nothing that JSON cannot");
        let path = run.finished();
        replace(&path, &(text + "\n"), Durability::Lasting)
            .map_err(|cause| Error::io("write the completion record", &path, &cause))
    }

    /// Reads the record; none if the run is not finished.
    ///
    /// # Errors
    ///
    /// An I/O error, if the file is there and cannot be read; a run error, if it is no completion record.
    pub fn read(run: &RunDirectory) -> Result<Option<Finished>> {
        let path = run.finished();
        let text = match std::fs::read_to_string(&path) {
            Err(cause) if matches!(cause.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            text => text.map_err(|cause| Error::io("read the completion record", &path, &cause))?,
        };
        serde_json::from_str(&text).map(Some).map_err(|cause| {
            Error::new(Kind::Run, format!("the completion record cannot be understood: {cause}"))
                .at_path(&path)
                .hint("remove it and run again: the run goes on from its newest checkpoint")
        })
    }

    /// Removes the record, because the run goes on beyond it or starts over.
    ///
    /// # Errors
    ///
    /// An I/O error, if it is there and cannot be removed.
    pub fn remove(run: &RunDirectory) -> Result<()> {
        let path = run.finished();
        match std::fs::remove_file(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed
                .and_then(|()| sync_directory_of(&path))
                .map_err(|cause| Error::io("remove the old completion record", &path, &cause)),
        }
    }
}

/// A hash as 16 hexadecimal digits: JSON numbers beyond 2⁵³ are not safe with every reader.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub fn serialize<S: Serializer>(hash: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{hash:016x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = String::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_finished_from_its_record_on_until_that_is_removed() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        let record = Finished {
            run_id: "r".into(),
            attempt: 2,
            step: 100,
            time: 1.5,
            state_hash: 0x00ff_0000_0000_0001,
            wall_seconds: 3.0,
            at: Timestamp::UNIX_EPOCH,
        };
        assert_eq!(Finished::read(&run).unwrap(), None);
        record.write(&run).unwrap();
        assert_eq!(Finished::read(&run).unwrap(), Some(record));
        assert!(std::fs::read_to_string(run.finished()).unwrap().contains("\"00ff000000000001\""));
        Finished::remove(&run).unwrap();
        Finished::remove(&run).unwrap();
        assert_eq!(Finished::read(&run).unwrap(), None);
    }
}
