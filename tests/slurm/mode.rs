//! What kind of cluster can be had on this machine, or why none can.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Chooses the mode where both are possible: `network` or `plain`.
pub const WISH: &str = "STEADFAST_SLURM_MODE";

/// The programs that it takes, each with the package that has it in Debian.
const PROGRAMS: [(&str, &str); 8] = [
    ("slurmctld", "slurmctld"),
    ("slurmd", "slurmd"),
    ("sbatch", "slurm-client"),
    ("srun", "slurm-client"),
    ("munged", "munge"),
    ("mpirun", "openmpi-bin"),
    ("setsid", "util-linux"),
    ("env", "coreutils"),
];

/// The arguments with which `unshare` makes a world of its own: network, host name, processes and mounts.
const WORLD: [&str; 8] =
    ["--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"];

/// What the nodes have of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Each has its own name, network, processes and memory; the cluster as a whole lives in a world of its own, so
    /// that many can live at once. Only root may make it.
    Network,
    /// They share this machine's, and differ only in what Slurm calls them.
    Plain,
}

impl Mode {
    /// The mode that this machine allows.
    ///
    /// # Errors
    ///
    /// The reason why no cluster can be started here.
    pub fn here() -> Result<Mode, String> {
        let missing: Vec<(&str, &str)> = PROGRAMS.into_iter().filter(|(name, _)| program(name).is_none()).collect();
        if !missing.is_empty() {
            let names: Vec<&str> = missing.iter().map(|(name, _)| *name).collect();
            let mut packages: Vec<&str> = missing.iter().map(|(_, package)| *package).collect();
            packages.dedup();
            return Err(format!("{} missing (Debian: apt install {})", names.join(", "), packages.join(" ")));
        }
        let network = separate_network();
        match std::env::var(WISH).as_deref() {
            Err(_) | Ok("") => Ok(if network.is_ok() { Mode::Network } else { Mode::Plain }),
            Ok("network") => network.map(|()| Mode::Network),
            Ok("plain") => Ok(Mode::Plain),
            Ok(other) => Err(format!("{WISH} is \"{other}\", but must be network or plain")),
        }
    }

    /// This program again in another role, in a world of its own where the mode has such.
    ///
    /// # Errors
    ///
    /// If this program has no path any more.
    pub fn another_self(self, role: &str) -> std::io::Result<Command> {
        let this = std::env::current_exe()?;
        let mut command = match self {
            Mode::Network => {
                let mut command = Command::new("unshare");
                command.args(WORLD).arg(this);
                command
            }
            Mode::Plain => Command::new(this),
        };
        command.arg(role);
        Ok(command)
    }

    pub fn parse(word: &str) -> Option<Mode> {
        [Mode::Network, Mode::Plain].into_iter().find(|mode| mode.to_string() == word)
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Network => "network",
            Mode::Plain => "plain",
        })
    }
}

/// Where a program lies; daemons are often not on the PATH of ordinary users.
pub fn program(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&path()).map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// The PATH on which all programs of Slurm are found.
pub fn path() -> String {
    format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default())
}

/// Whether the kernel lets this user have a bridge in a world of its own.
fn separate_network() -> Result<(), String> {
    let [unshare, ip] = ["unshare", "ip"]
        .map(|name| program(name).ok_or(format!("{name} is missing (Debian: apt install util-linux iproute2)")));
    let mut command = Command::new(unshare?);
    command.args(WORLD).arg(ip?).args(["link", "add", "switch", "type", "bridge"]);
    let output = command.stdin(Stdio::null()).output().map_err(|cause| format!("unshare does not start: {cause}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    output.status.success().then_some(()).ok_or(format!("no network of its own: {}", told.trim()))
}
