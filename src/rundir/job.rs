//! Which job of a batch system has the run, for whoever looks at the run from elsewhere.

use std::io::ErrorKind;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::directory::RunDirectory;
use super::replace::{Durability, replace};
use crate::error::{Error, Kind, Result};

/// The job that was submitted last for a run, or that runs it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The batch system.
    pub scheduler: String,
    /// The job's name there.
    pub id: String,
    /// When it was submitted or, if nobody told, first seen.
    pub since: Timestamp,
}

impl JobRecord {
    /// Reads which job has `run`; none if no job ever had.
    ///
    /// # Errors
    ///
    /// An I/O error, if the record is there and cannot be read; a run error, if it is none.
    pub fn read(run: &RunDirectory) -> Result<Option<JobRecord>> {
        let path = run.job();
        let text = match std::fs::read_to_string(&path) {
            Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|cause| Error::io("read the record of the job", &path, &cause))?,
        };
        serde_json::from_str(&text).map(Some).map_err(|cause| {
            Error::new(Kind::Run, format!("the record of the job is none: {cause}"))
                .at_path(&path)
                .hint("remove it, once no job works on this run")
        })
    }

    /// Replaces the record of `run`.
    ///
    /// # Errors
    ///
    /// An I/O error, if it cannot be written.
    pub fn write(&self, run: &RunDirectory) -> Result<()> {
        let text = serde_json::to_string_pretty(self).expect("a record holds nothing that JSON cannot");
        let path = run.job();
        replace(&path, &(text + "\n"), Durability::Lasting)
            .map_err(|cause| Error::io("write the record of the job", &path, &cause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_read() {
        let room = tempfile::tempdir().unwrap();
        let run = RunDirectory::new(room.path());
        assert_eq!(JobRecord::read(&run).unwrap(), None);
        let record = JobRecord { scheduler: "Slurm".into(), id: "12".into(), since: Timestamp::UNIX_EPOCH };
        record.write(&run).unwrap();
        assert_eq!(JobRecord::read(&run).unwrap(), Some(record));
        std::fs::write(run.job(), "{").unwrap();
        assert!(JobRecord::read(&run).unwrap_err().to_string().contains("hint: remove it"));
    }
}
