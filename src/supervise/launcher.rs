//! Which launcher starts the ranks, how it was chosen, and how it wants to be called.
//!
//! The launcher must belong to the MPI that the program was built with: the wrong one starts N single processes and
//! calls that a success. So the program's own libraries are looked at first (`ldd`).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::nodes::Placement;
use crate::error::{Error, Kind, Result};
use crate::rundir::fault::FAULT_VARIABLE;
use crate::rundir::{Orders, RunDirectory};

/// The names that are tried, in this order; the last ones are Debian's, where both MPIs are installed.
const NAMES: [&str; 6] = ["mpirun", "mpiexec", "mpirun.openmpi", "mpirun.mpich", "mpiexec.hydra", "srun"];

/// The families of launchers, which differ in their options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Open MPI's `mpirun`.
    OpenMpi,
    /// Hydra, the launcher of MPICH and its relatives.
    Hydra,
    /// Slurm's `srun`.
    Srun,
    /// Something else that understands `-n`.
    Other,
}

impl Family {
    /// Tells the family from what `--version` prints; launchers may print noise around it.
    fn of_version(text: &str) -> Family {
        if text.contains("Open MPI") || text.contains("OpenRTE") || text.contains("prte") {
            Family::OpenMpi
        } else if text.contains("HYDRA") || text.contains("Intel(R) MPI") {
            Family::Hydra
        } else if text.starts_with("slurm ") {
            Family::Srun
        } else {
            Family::Other
        }
    }

    /// Tells the MPI of a program from the list of its shared libraries.
    fn of_libraries(text: &str) -> Option<Family> {
        if text.contains("libmpich.so") || text.contains("libmpi.so.12") {
            Some(Family::Hydra)
        } else if text.contains("libmpi.so.") {
            Some(Family::OpenMpi)
        } else {
            None
        }
    }

    /// The signal that killed a rank, as the launcher's exit code tells it.
    pub(super) fn signal_in(self, code: i32) -> Option<i32> {
        match (self, code) {
            (_, 129..=192) => Some(code - 128),
            (Family::Hydra, 3..=31) => Some(code),
            _ => None,
        }
    }

    fn fits(self, program: Option<Family>) -> bool {
        program.is_none_or(|program| self == program || matches!(self, Family::Srun | Family::Other))
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::OpenMpi => "Open MPI",
            Family::Hydra => "MPICH",
            Family::Srun => "Slurm",
            Family::Other => "unknown MPI",
        })
    }
}

/// A launcher that was found, and why it was taken.
#[derive(Debug, Clone)]
pub struct Launcher {
    path: PathBuf,
    family: Family,
    why: String,
}

impl Launcher {
    /// Chooses the launcher for `program`: by name or path, or with "auto" the first on PATH that fits its MPI.
    ///
    /// # Errors
    ///
    /// A bad command, if the launcher that is asked for is missing or none fits; a run error, if there is none at all.
    pub fn choose(wish: &str, program: &Path) -> Result<Launcher> {
        if wish != "auto" {
            let path = find(OsStr::new(wish)).ok_or_else(|| {
                Error::case(format!("the launcher \"{wish}\" is no executable file and not on PATH"))
                    .hint("name one that is there, or leave it to --launcher auto")
            })?;
            return Ok(Launcher { family: family_of(&path), path, why: "asked for".into() });
        }
        let program_mpi = mpi_of(program);
        let found: Vec<(PathBuf, Family)> = NAMES
            .iter()
            .filter_map(|name| find(OsStr::new(name)))
            .map(|path| (path.clone(), family_of(&path)))
            .collect();
        let fitting = found.iter().find(|(_, family)| family.fits(program_mpi));
        match (fitting, program_mpi) {
            (Some((path, family)), Some(mpi)) => Ok(Launcher {
                path: path.clone(),
                family: *family,
                why: format!("the first on PATH that fits the program's {mpi}"),
            }),
            (Some((path, family)), None) => {
                Ok(Launcher { path: path.clone(), family: *family, why: "the first on PATH".into() })
            }
            (None, Some(mpi)) if !found.is_empty() => Err(Error::case(format!(
                "the program {} is built with {mpi}, but PATH has only {}",
                program.display(),
                found
                    .iter()
                    .map(|(path, family)| format!("{} ({family})", path.display()))
                    .collect::<Vec<_>>()
                    .join(", ")
            ))
            .hint("name the launcher of its MPI: --launcher PATH")),
            _ => Err(Error::new(Kind::Run, "no MPI launcher is on PATH: neither mpirun nor mpiexec nor srun")
                .hint("install one (Debian, Ubuntu: apt install openmpi-bin), or name it: --launcher PATH")),
        }
    }

    /// The family of the launcher.
    pub fn family(&self) -> Family {
        self.family
    }

    /// The beginning of a command that starts `ranks` ranks; the program comes next.
    pub fn start(&self, ranks: usize) -> Command {
        let mut command = Command::new(&self.path);
        command.arg("-n").arg(ranks.to_string()).stdin(Stdio::null());
        match self.family {
            Family::OpenMpi => {
                for (name, value) in open_mpi_settings() {
                    if std::env::var_os(name).is_none() {
                        command.env(name, value);
                    }
                }
            }
            // Without it the other ranks stay when one is killed.
            Family::Srun => {
                command.arg("--kill-on-bad-exit=1");
            }
            Family::Hydra | Family::Other => {}
        }
        command
    }

    /// The command that starts `ranks` ranks of `program` with these orders.
    pub(super) fn command(
        &self,
        placement: &Placement,
        extra: &[OsString],
        program: &[OsString],
        orders: &Orders,
        run: &RunDirectory,
    ) -> Command {
        let mut command = self.start(placement.ranks);
        if !placement.nodes.is_empty() {
            match self.family {
                Family::OpenMpi => command.args(["--host", &placement.list()]),
                Family::Srun => {
                    let names: Vec<&str> = placement.nodes.iter().map(|node| node.name.as_str()).collect();
                    // Without their number srun takes all nodes of the allocation besides.
                    command.args(["--nodelist", &names.join(","), "--nodes", &names.len().to_string()])
                }
                Family::Hydra | Family::Other => command.args(["-hosts", &placement.list()]),
            };
        }
        orders.give_to(&mut command, run);
        if self.family == Family::OpenMpi {
            // Unlike the others it passes no variables on to other nodes by itself.
            let faults = std::env::var_os(FAULT_VARIABLE).map(|_| FAULT_VARIABLE);
            for name in Orders::variable_names().into_iter().chain(faults) {
                command.args(["-x", name]);
            }
        }
        command.args(extra).args(program);
        command
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}; {})", self.path.display(), self.family, self.why)
    }
}

/// What Open MPI needs to hear, unless the user has said otherwise.
fn open_mpi_settings() -> Vec<(&'static str, &'static str)> {
    let mut settings = vec![
        // One second less from a rank's death to the relaunch.
        ("OMPI_MCA_odls_base_sigkill_timeout", "0"),
        // More ranks than cores is the user's choice; it makes idle ranks yield, and does nothing where cores suffice.
        ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
        ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
        // By default one or two ranks are bound to a core each, which would squeeze all threads of a rank into it.
        ("OMPI_MCA_hwloc_base_binding_policy", "none"),
    ];
    if nix::unistd::geteuid().is_root() {
        settings.extend([("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")]);
    }
    settings
}

/// The executable file of a name or path, as a shell would find it.
pub fn find(name: &OsStr) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if name.to_string_lossy().contains('/') {
        return Some(PathBuf::from(name)).filter(executable);
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(executable)
}

fn family_of(launcher: &Path) -> Family {
    Family::of_version(&output_of(Command::new(launcher).arg("--version")))
}

fn mpi_of(program: &Path) -> Option<Family> {
    Family::of_libraries(&output_of(Command::new("ldd").arg(program)))
}

/// What a command prints; nothing, if it cannot be run.
fn output_of(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).stderr(Stdio::null()).output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::nodes::Nodes;
    use super::*;

    fn placement() -> Placement {
        Placement { ranks: 3, nodes: Vec::new() }
    }

    fn launcher(family: Family) -> Launcher {
        Launcher { path: "/bin/launcher".into(), family, why: "a test".into() }
    }

    #[test]
    fn launchers_are_told_apart_by_their_version() {
        for (text, family) in [
            ("noise\nmpirun (Open MPI) 4.1.4\n\nReport bugs to …", Family::OpenMpi),
            ("HYDRA build details:\n    Version: 4.0.2", Family::Hydra),
            ("Intel(R) MPI Library for Linux* OS, Version 2021.9", Family::Hydra),
            ("slurm 22.05.8", Family::Srun),
            ("", Family::Other),
        ] {
            assert_eq!(Family::of_version(text), family, "{text}");
        }
    }

    #[test]
    fn a_program_tells_its_mpi_by_its_libraries() {
        for (text, family) in [
            ("\tlibmpi.so.40 => /lib/x86_64-linux-gnu/libmpi.so.40 (0x0)", Some(Family::OpenMpi)),
            ("\tlibmpich.so.12 => /lib/x86_64-linux-gnu/libmpich.so.12 (0x0)", Some(Family::Hydra)),
            ("\tlibmpi.so.12 => /opt/mpich/lib/libmpi.so.12 (0x0)", Some(Family::Hydra)),
            ("\tnot a dynamic executable", None),
        ] {
            assert_eq!(Family::of_libraries(text), family, "{text}");
        }
    }

    #[test]
    fn srun_is_told_to_kill_all_ranks_when_one_dies() {
        let orders = Orders::from_this_supervisor(1, BTreeSet::new(), None).unwrap();
        let run = RunDirectory::new("x.run");
        let program = [OsString::from("heat"), "run".into()];
        let command = launcher(Family::Srun).command(&placement(), &["--mpi=pmix".into()], &program, &orders, &run);
        let arguments: Vec<_> = command.get_args().collect();
        assert_eq!(arguments, ["-n", "3", "--kill-on-bad-exit=1", "--mpi=pmix", "heat", "run"]);
    }

    #[test]
    fn open_mpi_is_told_to_pass_the_orders_on() {
        let orders = Orders::from_this_supervisor(1, BTreeSet::new(), None).unwrap();
        let command = launcher(Family::OpenMpi).command(
            &placement(),
            &[],
            &["heat".into()],
            &orders,
            &RunDirectory::new("x.run"),
        );
        let passed = command.get_args().filter(|&argument| argument == "-x").count();
        assert_eq!(passed, Orders::variable_names().len());
        assert!(command.get_envs().any(|(name, value)| name == "STEADFAST_DIR" && value == Some(OsStr::new("x.run"))));
    }

    #[test]
    fn every_launcher_is_told_the_nodes_in_its_own_words() {
        let orders = Orders::from_this_supervisor(1, BTreeSet::new(), None).unwrap();
        let placement = Nodes::parse("a:2,b:2").unwrap().place(3, 3, &BTreeSet::new()).unwrap();
        for (family, words) in [
            (Family::OpenMpi, ["--host", "a:2,b:1"]),
            (Family::Hydra, ["-hosts", "a:2,b:1"]),
            (Family::Srun, ["--nodelist", "a,b"]),
        ] {
            let run = RunDirectory::new("x.run");
            let command = launcher(family).command(&placement, &[], &["heat".into()], &orders, &run);
            let arguments: Vec<_> = command.get_args().collect();
            assert!(arguments.windows(2).any(|pair| pair == words), "{arguments:?}");
        }
    }

    #[test]
    fn a_missing_launcher_is_a_bad_command() {
        let error = Launcher::choose("no-such-launcher", Path::new("/bin/sh")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.message().contains("no-such-launcher"));
    }
}
