//! What a Slurm site has set, as far as it matters to runs that are to survive there.

use std::time::Duration;

use super::slurm::Slurm;
use crate::error::Result;

/// How long Slurm's own credentials are good for, unless the site says otherwise.
const CREDENTIALS: Duration = Duration::from_secs(120);

/// The settings of a site.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Slurm's version, as in `22.05.8`.
    pub version: String,
    /// Whether jobs are put into the queue again after the death of a node, if they do not say.
    pub requeues: bool,
    /// How long a job has from the signal that ends it to the one that kills it.
    pub kill_wait: Option<Duration>,
    /// After which silence a node counts as dead.
    pub node_timeout: Option<Duration>,
    /// How long a job that was put into the queue again waits there at least.
    pub pause: Duration,
    /// The ways in which `srun` can start ranks.
    pub mpi_types: Vec<String>,
    /// The one that it takes by itself.
    pub mpi_default: String,
    /// How ranks that `srun` starts by PMIx meet, if the site says.
    pub pmix_fence: Option<String>,
}

impl Slurm {
    /// What the site has set.
    ///
    /// # Errors
    /// A run error, if the controller cannot be asked.
    pub fn site(&self) -> Result<Site> {
        let config = self.read("scontrol", &["show", "config"])?;
        let types = self.said("srun", &["--mpi=list"])?;
        // Older versions list them among errors.
        Ok(site_in(&config, &format!("{}\n{}", types.out, types.err)))
    }
}

/// The site in lines as `KillWait = 30 sec`, and its ways to start ranks in lines as `srun: pmix`.
fn site_in(config: &str, types: &str) -> Site {
    let value = |key: &str| {
        let lines = config.lines().filter_map(|line| line.split_once('='));
        let found = lines.map(|(name, value)| (name.trim(), value.trim())).find(|(name, _)| *name == key);
        found.map(|(_, value)| value).filter(|value| *value != "(null)")
    };
    let span = |key: &str| value(key).and_then(seconds);
    let expiry = value("AuthInfo").and_then(|info| info.split(',').find_map(|part| part.strip_prefix("cred_expire=")));
    Site {
        version: value("SLURM_VERSION").unwrap_or("unknown").to_owned(),
        requeues: value("JobRequeue") == Some("1"),
        kill_wait: span("KillWait"),
        node_timeout: span("SlurmdTimeout"),
        pause: expiry.and_then(seconds).unwrap_or(CREDENTIALS) + Duration::from_secs(1),
        mpi_types: mpi_types(types),
        mpi_default: value("MpiDefault").unwrap_or("none").to_owned(),
        pmix_fence: value("PMIxCollFence").map(str::to_owned),
    }
}

/// The words that stand alone on their lines, but `none`, which starts single processes.
fn mpi_types(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.trim().trim_start_matches("srun: ").trim());
    lines.filter(|line| !line.is_empty() && !line.contains(' ') && *line != "none").map(str::to_owned).collect()
}

/// A number of seconds, perhaps with its unit.
fn seconds(text: &str) -> Option<Duration> {
    text.split(' ').next()?.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_is_known_by_what_its_controller_says() {
        let config = "Configuration data as of 2026-01-01T00:00:00
AuthInfo                = socket=/run/munge.sock,cred_expire=5
JobRequeue              = 1
KillWait                = 30 sec
MpiDefault              = (null)
SLURM_VERSION           = 22.05.8
SlurmdTimeout           = 300 sec

MPI Plugins Configuration:
PMIxCollFence           = ring";
        let types = "MPI plugin types are...\n\tpmix\n\tnone\n\tpmi2\nspecific pmix plugin versions available: pmix_v4";
        let expected = Site {
            version: "22.05.8".into(),
            requeues: true,
            kill_wait: Some(Duration::from_secs(30)),
            node_timeout: Some(Duration::from_secs(300)),
            pause: Duration::from_secs(6),
            mpi_types: vec!["pmix".into(), "pmi2".into()],
            mpi_default: "none".into(),
            pmix_fence: Some("ring".into()),
        };
        assert_eq!(site_in(config, types), expected);
        assert_eq!(site_in("", "srun: MPI types are...\nsrun: pmi2\nsrun: none").mpi_types, ["pmi2"]);
        assert_eq!(site_in("", "").pause, Duration::from_secs(121));
    }
}
