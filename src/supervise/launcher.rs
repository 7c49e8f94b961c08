//! Which launcher starts the ranks, how it was chosen, and how it wants to be called.
//!
//! The launcher must belong to the MPI that the program was built with: the wrong one starts N single processes and
//! calls that a success. So the program's own libraries are looked at first (`ldd`).

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::allocation::Allocation;
use super::attempt::Call;
use super::nodes::Placement;
use super::supervisor::Plan;
use crate::batch::slurm::without_job_defaults;
use crate::error::{Error, Kind, Result};
use crate::rundir::Orders;
use crate::rundir::fault::FAULT_VARIABLE;

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
        } else if text.starts_with("slurm") {
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
    /// How srun is to start the MPI of the program, unless the user or the site has said it.
    mpi: Option<&'static str>,
}

impl Launcher {
    /// Chooses the launcher for `program`: by name or path, or with "auto" the first on PATH that fits its MPI.
    ///
    /// # Errors
    ///
    /// A bad command, if the launcher that is asked for is missing or none fits; a run error, if there is none at all.
    pub fn choose(wish: &str, program: &Path) -> Result<Launcher> {
        Ok(Self::candidates(wish, program)?.swap_remove(0))
    }

    /// The launchers for `program` in the order in which they are worth a try; at least one, as [`Launcher::choose`] has it.
    ///
    /// # Errors
    ///
    /// As [`Launcher::choose`].
    pub fn candidates(wish: &str, program: &Path) -> Result<Vec<Launcher>> {
        let program_mpi = mpi_of(program);
        let make = |path: PathBuf, family, why: String| {
            let mpi = if family == Family::Srun { mpi_type(&path, program_mpi) } else { None };
            Launcher { path, family, why, mpi }
        };
        if wish != "auto" {
            let path = find(OsStr::new(wish)).ok_or_else(|| {
                Error::case(format!("the launcher \"{wish}\" is no executable file and not on PATH"))
                    .hint("name one that is there, or leave it to --launcher auto")
            })?;
            let family = family_of(&path);
            return Ok(vec![make(path, family, "asked for".into())]);
        }
        let found: Vec<(PathBuf, Family)> = NAMES
            .iter()
            .filter_map(|name| find(OsStr::new(name)))
            .map(|path| (path.clone(), family_of(&path)))
            .collect();
        let why = program_mpi.map_or_else(String::new, |mpi| format!(" that fits the program's {mpi}"));
        let mut fitting: Vec<Launcher> = Vec::new();
        for (path, family) in found.iter().filter(|(_, family)| family.fits(program_mpi)) {
            // Several names of one launcher are one.
            if fitting.iter().all(|other| other.family != *family) {
                let place = if fitting.is_empty() { "the first" } else { "another" };
                fitting.push(make(path.clone(), *family, format!("{place} on PATH{why}")));
            }
        }
        match program_mpi {
            _ if !fitting.is_empty() => Ok(fitting),
            Some(mpi) if !found.is_empty() => Err(Error::case(format!(
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

    /// The command that launches the ranks as they are called for.
    pub(super) fn command(&self, plan: &Plan, call: &Call<'_>) -> Result<Command> {
        let mut command = self.start(call.placement.ranks);
        let mark = plan.allocation.as_ref().map(Allocation::mark);
        match self.family {
            Family::OpenMpi => self.place_by_mpirun(&mut command, call.placement, mark),
            Family::Srun => self.place_by_srun(&mut command, plan, call, mark)?,
            Family::Hydra | Family::Other => {
                if !call.placement.nodes.is_empty() {
                    command.args(["-hosts", &call.placement.list()]);
                }
                if let Some(mark) = mark {
                    mark_steps(&mut command, "HYDRA_LAUNCHER_EXTRA_ARGS", mark);
                }
            }
        }
        if mark.is_some() {
            // Steps share the allocation with whatever is left of earlier ones, which Slurm may not know to be dead; and what
            // the job was not given of its submitter's environment, the ranks are to have of the supervisor's.
            command.envs([("SLURM_OVERLAP", "1"), ("SLURM_EXPORT_ENV", "ALL")]);
        }
        call.orders.give_to(&mut command, &plan.directory);
        if self.family == Family::OpenMpi {
            // Unlike the others it passes no variables on to other nodes by itself.
            let faults = std::env::var_os(FAULT_VARIABLE).map(|_| FAULT_VARIABLE);
            for name in Orders::variable_names().into_iter().chain(faults) {
                command.args(["-x", name]);
            }
        }
        command.args(&plan.launcher_arguments).args(call.command);
        Ok(command)
    }

    fn place_by_mpirun(&self, command: &mut Command, placement: &Placement, mark: Option<&str>) {
        if !placement.nodes.is_empty() {
            command.args(["--host", &placement.list()]);
        }
        // Its helpers on other nodes are a step, too.
        if let Some(mark) = mark {
            mark_steps(command, "OMPI_MCA_plm_slurm_args", mark);
            mark_steps(command, "PRTE_MCA_plm_slurm_args", mark);
        }
    }

    fn place_by_srun(&self, command: &mut Command, plan: &Plan, call: &Call<'_>, mark: Option<&str>) -> Result<()> {
        let placement = call.placement;
        if !placement.nodes.is_empty() {
            // A list of hosts, one for each rank, is the only way to say how many go where.
            let path = plan.directory.host_file();
            std::fs::write(&path, placement.host_of_each_rank())
                .map_err(|cause| Error::io("write the list of hosts", &path, &cause))?;
            without_job_defaults(command);
            command.env("SLURM_HOSTFILE", path).arg("--distribution=arbitrary");
        }
        if let Some(mark) = mark {
            command.args(["--overlap".to_owned(), format!("--job-name={mark}")]);
            if call.is_overheard {
                // The supervisor hears of a death, and kills: srun would only ask the others to end, and be deaf for half a minute.
                command.arg("--kill-on-bad-exit=0");
            }
        }
        if let Some(cpus) = std::env::var_os("SLURM_CPUS_PER_TASK") {
            // Slurm no longer hands it on to the steps by itself.
            command.arg("--cpus-per-task").arg(cpus);
        }
        if let Some(mpi) = &self.mpi {
            command.arg(format!("--mpi={mpi}"));
        }
        Ok(())
    }
}

impl fmt::Display for Launcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}; {})", self.path.display(), self.family, self.why)
    }
}

/// Has a launcher's helpers on other nodes bear a mark, besides what the user or Slurm itself tells them.
fn mark_steps(command: &mut Command, variable: &str, mark: &str) {
    let mut arguments = std::env::var_os(variable).unwrap_or_default();
    if !arguments.is_empty() {
        arguments.push(" ");
    }
    arguments.push(format!("--job-name={mark}"));
    command.env(variable, arguments);
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

/// How srun starts the ranks of this MPI: by PMIx where Slurm has it, else by PMI2, which both understand. Of a program whose
/// MPI is not known the site knows more.
fn mpi_type(srun: &Path, program: Option<Family>) -> Option<&'static str> {
    let wanted = match program? {
        _ if std::env::var_os("SLURM_MPI_TYPE").is_some() => return None,
        Family::OpenMpi => ["pmix", "pmi2"],
        _ => ["pmi2", "pmix"],
    };
    let said = Command::new(srun).arg("--mpi=list").stdin(Stdio::null()).output().ok()?;
    // Which stream it is printed to depends on the version.
    let text = [said.stdout, said.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    wanted.into_iter().find(|name| text.split(|c: char| !c.is_alphanumeric()).any(|word| word == *name))
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
impl Launcher {
    /// A launcher that is never started.
    pub(super) fn in_test() -> Launcher {
        Launcher { path: "/bin/launcher".into(), family: Family::Other, why: "a test".into(), mpi: None }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::nodes::Nodes;
    use super::*;

    fn launcher(family: Family) -> Launcher {
        Launcher { family, ..Launcher::in_test() }
    }

    #[test]
    fn launchers_are_told_apart_by_their_version() {
        for (text, family) in [
            ("noise\nmpirun (Open MPI) 4.1.4\n\nReport bugs to …", Family::OpenMpi),
            ("HYDRA build details:\n    Version: 4.0.2", Family::Hydra),
            ("Intel(R) MPI Library for Linux* OS, Version 2021.9", Family::Hydra),
            ("slurm 23.11.4", Family::Srun),
            ("slurm-wlm 22.05.8", Family::Srun),
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

    /// The command that this family is called with, in an allocation or not, and the lines of its host file.
    fn called(family: Family, nodes: &str, ranks: usize, allocation: Option<Allocation>) -> (Command, String) {
        let room = tempfile::tempdir().unwrap();
        let launcher = launcher(family);
        let nodes = if nodes.is_empty() { Nodes::default() } else { Nodes::parse(nodes).unwrap() };
        let placement = nodes.place(ranks, ranks, &BTreeSet::new()).unwrap();
        let plan = Plan { nodes, allocation, ..Plan::in_test(launcher.clone(), ranks, room.path()) };
        let orders = Orders::from_this_supervisor(1, BTreeSet::new(), None, None).unwrap();
        let command = ["heat".into(), "run".into()];
        let call = Call {
            launcher: &launcher,
            placement: &placement,
            command: &command,
            orders: &orders,
            sentry: None,
            is_overheard: true,
        };
        let command = launcher.command(&plan, &call).unwrap();
        let hosts = std::fs::read_to_string(plan.directory.host_file()).unwrap_or_default();
        (command, hosts)
    }

    fn words(command: &Command) -> Vec<&str> {
        command.get_args().map(|word| word.to_str().unwrap()).collect()
    }

    fn variable<'a>(command: &'a Command, name: &str) -> Option<&'a str> {
        command.get_envs().find(|(key, _)| *key == name)?.1?.to_str()
    }

    #[test]
    fn srun_is_told_to_kill_all_ranks_when_one_dies() {
        let (command, hosts) = called(Family::Srun, "", 3, None);
        assert_eq!(words(&command), ["-n", "3", "--kill-on-bad-exit=1", "--extra", "heat", "run"]);
        assert_eq!(hosts, "");
    }

    #[test]
    fn open_mpi_is_told_to_pass_the_orders_on() {
        let (command, _) = called(Family::OpenMpi, "", 3, None);
        let passed = command.get_args().filter(|&argument| argument == "-x").count();
        assert_eq!(passed, Orders::variable_names().len());
        assert_eq!(variable(&command, "STEADFAST_ATTEMPT"), Some("1"));
    }

    #[test]
    fn every_launcher_is_told_the_nodes_in_its_own_words() {
        for (family, words_of_it, list) in [
            (Family::OpenMpi, ["--host", "a:2,b:1"], ""),
            (Family::Hydra, ["-hosts", "a:2,b:1"], ""),
            (Family::Srun, ["--kill-on-bad-exit=1", "--distribution=arbitrary"], "a\na\nb\n"),
        ] {
            let (command, hosts) = called(family, "a:2,b:2", 3, None);
            assert!(words(&command).windows(2).any(|pair| pair == words_of_it), "{:?}", words(&command));
            assert_eq!(hosts, list);
        }
    }

    #[test]
    fn in_an_allocation_all_that_is_started_bears_a_mark_and_shares_the_nodes() {
        let allocation = || Some(Allocation::in_test("a,b", "2(x2)", &[]));
        let (command, _) = called(Family::Srun, "a:2,b:2", 4, allocation());
        let name = words(&command).into_iter().find(|word| word.starts_with("--job-name=steadfast-0-")).unwrap();
        assert!(words(&command).contains(&"--overlap"));
        let (command, _) = called(Family::OpenMpi, "a:2,b:2", 4, allocation());
        assert_eq!(variable(&command, "OMPI_MCA_plm_slurm_args"), Some(name));
        assert_eq!(variable(&command, "SLURM_OVERLAP"), Some("1"));
        let (command, _) = called(Family::Hydra, "a:2,b:2", 4, allocation());
        assert_eq!(variable(&command, "HYDRA_LAUNCHER_EXTRA_ARGS"), Some(name));
    }

    #[test]
    fn a_missing_launcher_is_a_bad_command() {
        let error = Launcher::choose("no-such-launcher", Path::new("/bin/sh")).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(error.message().contains("no-such-launcher"));
    }
}
