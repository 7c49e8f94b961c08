//! How MPI starts, and with which launchers it must not.

use std::ffi::OsString;

use super::Communicator;
use crate::error::{Error, Result};
use crate::sys::mpi::{self, Environment};

/// MPI, from start to end: it ends when this and the last [`Communicator`] are dropped.
#[derive(Debug)]
pub struct Mpi {
    world: Communicator,
    version: String,
}

impl Mpi {
    /// Starts MPI for one thread of this process.
    ///
    /// # Collective
    /// All processes of the launch must call it, once.
    ///
    /// # Errors
    /// If MPI cannot start, has been started before, or was launched by the launcher of another MPI, under which every
    /// process would believe to be alone.
    pub fn start() -> Result<Self> {
        // MPI itself may set these variables when it starts.
        let launched = Launched::from_environment(|name| std::env::var_os(name));
        let environment = Environment::start()?;
        let world = Communicator::new(mpi::Communicator::world(&environment)?);
        let version = mpi::version()?;
        if let Some(launched) = launched {
            launched.check(world.size(), &version)?;
        }
        Ok(Mpi { world, version })
    }

    /// The communicator of all ranks.
    pub fn world(&self) -> Communicator {
        self.world.clone()
    }

    /// The name and version of the MPI library, as in `Open MPI v4.1.4`.
    pub fn version(&self) -> String {
        self.version.clone()
    }
}

/// What the launcher says about this launch.
#[derive(Debug, PartialEq)]
struct Launched {
    variable: &'static str,
    processes: usize,
    rank: Option<usize>,
}

impl Launched {
    /// Reads what launchers leave in the environment.
    ///
    /// The launchers of Open MPI and MPICH come first: inside a Slurm job their helpers run in a step of their own, whose
    /// variables the ranks inherit. Slurm's count holds only for a process that is a task of a step.
    fn from_environment(get: impl Fn(&str) -> Option<OsString>) -> Option<Self> {
        let number = |name: &str| get(name)?.to_str()?.parse::<usize>().ok();
        let of = |variable, rank: &str| {
            number(variable).map(|processes| Launched { variable, processes, rank: number(rank) })
        };
        of("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK").or_else(|| of("PMI_SIZE", "PMI_RANK")).or_else(|| {
            number("SLURM_STEP_ID")?;
            number("SLURM_PROCID")?;
            of("SLURM_STEP_NUM_TASKS", "SLURM_PROCID").or_else(|| of("SLURM_NTASKS", "SLURM_PROCID"))
        })
    }

    /// Refuses a launch in which MPI found another number of processes than the launcher started.
    fn check(&self, size: usize, version: &str) -> Result<()> {
        let Launched { variable, processes, rank } = *self;
        if processes == size {
            return Ok(());
        }
        let hint = match variable {
            "SLURM_NTASKS" | "SLURM_STEP_NUM_TASKS" => {
                format!("srun's --mpi option must fit {version}: see `srun --mpi=list`")
            }
            _ => format!("this program is built with {version}: start it with the mpirun or mpiexec of that MPI"),
        };
        let error = Error::case(format!(
            "the launcher started {processes} processes ({variable}={processes}), but MPI finds {size}; it belongs to \
             another MPI"
        ));
        Err(error.on_rank(rank.unwrap_or(0)).hint(hint))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launched(variables: &[(&str, &str)]) -> Option<Launched> {
        Launched::from_environment(|name| variables.iter().find(|(key, _)| *key == name).map(|(_, v)| v.into()))
    }

    #[test]
    fn the_launcher_of_another_mpi_is_refused_with_both_numbers() {
        let launched = launched(&[("PMI_SIZE", "4"), ("PMI_RANK", "3")]).unwrap();
        assert_eq!(launched.check(4, "MPICH 4.0.2"), Ok(()));
        let error = launched.check(1, "Open MPI v4.1.4").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("PMI_SIZE=4") && text.contains("finds 1") && text.contains("rank 3"), "{text}");
        assert!(text.contains("hint: this program is built with Open MPI v4.1.4"), "{text}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_process_without_a_launcher_is_welcome() {
        assert_eq!(launched(&[]), None);
    }

    #[test]
    fn slurms_count_holds_only_for_a_task_of_a_step() {
        assert_eq!(launched(&[("SLURM_NTASKS", "8")]), None, "a batch script sees the count of the job");
        assert_eq!(launched(&[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]), None);
        let step = [("SLURM_NTASKS", "8"), ("SLURM_PROCID", "1"), ("SLURM_STEP_ID", "0")];
        assert_eq!(launched(&step).unwrap().processes, 8);
    }

    #[test]
    fn mpirun_inside_of_a_slurm_step_has_the_last_word() {
        let variables = [
            ("SLURM_STEP_NUM_TASKS", "2"),
            ("SLURM_PROCID", "1"),
            ("SLURM_STEP_ID", "0"),
            ("OMPI_COMM_WORLD_SIZE", "16"),
        ];
        assert_eq!(launched(&variables).unwrap().processes, 16);
    }
}
