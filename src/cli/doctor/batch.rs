//! The batch system: what the site has set, and inside an allocation which launcher starts ranks on all its nodes.

use std::ffi::OsStr;
use std::path::Path;
use std::time::Duration;

use super::messages::Voice;
use super::{Check, messages};
use crate::batch::Slurm;
use crate::batch::site::Site;
use crate::cli::show;
use crate::rundir::{Event, Journal, RunDirectory};
use crate::supervise::launcher::find;
use crate::supervise::{Allocation, Launcher};

/// How long the controller may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first version in which steps can share an allocation (`srun --overlap`).
const OLDEST: (u32, u32) = (20, 11);

/// Where a dead node is noticed later than this, spare nodes are worth having: they are used before it is noticed.
const LATE: Duration = Duration::from_secs(60);

/// Looks at Slurm, if it is here; `directory` is where runs write, or a run that tells how long it takes to save.
pub fn look(directory: &Path, ranks: usize) -> Vec<Check> {
    if find(OsStr::new("scontrol")).is_none() {
        return Vec::new();
    }
    let slurm = Slurm::within(PATIENCE);
    let site = match slurm.site() {
        Ok(site) => site,
        Err(error) => {
            return vec![Check::warn("Slurm", error.message(), "is this a machine from which jobs are submitted?")];
        }
    };
    let mut checks = judge(&site, longest_save(directory));
    match Allocation::of_this_process() {
        Ok(Some(allocation)) => {
            let nodes = allocation.nodes().names().len();
            let ranks = allocation.tasks().unwrap_or(0).max(nodes).max(ranks);
            checks.extend(starts(&site, nodes, ranks));
        }
        Ok(None) => {
            let how = "to learn which work on several nodes: sbatch -N 2 --wrap 'steadfast doctor'";
            checks.push(Check::ok("launchers", how));
        }
        Err(error) => checks.push(Check::warn("allocation", error.message(), "see scontrol show job")),
    }
    checks
}

/// What the site's settings mean for a run, which takes so long to save if that is known.
fn judge(site: &Site, save: Option<Duration>) -> Vec<Check> {
    let time = show::duration;
    let mut checks = vec![match number(&site.version) {
        Some(version) if version < OLDEST => Check::warn(
            "Slurm",
            format!("{} has no srun --overlap", site.version),
            "runs are brought back only by whole new jobs here; ask for Slurm 20.11 or newer",
        ),
        _ => Check::ok("Slurm", site.version.clone()),
    }];
    let again = format!("a job begins again {} after it was put into the queue at the earliest", time(site.pause));
    checks.push(match site.requeues {
        true => Check::ok("requeue", again),
        false => Check::ok("requeue", format!("only of jobs that ask for it, as those of submit do; {again}")),
    });
    checks.extend(site.kill_wait.map(|wait| match save {
        Some(save) if save > wait => Check::warn(
            "KillWait",
            format!("{} from the signal to the end; to save took up to {}", time(wait), time(save)),
            "a job that is cancelled loses what is not saved: stop it with steadfast stop, and save more often",
        ),
        Some(save) => Check::ok("KillWait", format!("{}; to save took up to {}", time(wait), time(save))),
        None => Check::ok("KillWait", format!("{} to save in, when a job is cancelled", time(wait))),
    }));
    checks.extend(site.node_timeout.map(|timeout| {
        let found = format!("a dead node is noticed by Slurm after {}", time(timeout));
        match timeout > LATE {
            true => Check::ok("dead nodes", format!("{found}; with spare nodes a run goes on at once (--spare-nodes)")),
            false => Check::ok("dead nodes", found),
        }
    }));
    checks.push(match site.mpi_types.is_empty() {
        true => Check::warn("srun", "starts no MPI ranks: it has none but --mpi=none", "use --launcher mpirun"),
        false => {
            let types = site.mpi_types.join(", ");
            Check::ok("srun", format!("--mpi: {types}; by itself {}", site.mpi_default))
        }
    });
    let is_pmix = |name: &String| name.starts_with("pmix");
    if site.mpi_types.iter().any(is_pmix) && site.pmix_fence.as_deref() != Some("ring") {
        checks.push(Check::warn(
            "PMIx",
            format!("ranks meet by {}", site.pmix_fence.as_deref().unwrap_or("the default")),
            "if starts by srun --mpi=pmix crash now and then in MPI_Init: PMIxCollFence=ring in mpi.conf, or --launcher mpirun",
        ));
    }
    checks
}

/// Starts ranks on all nodes of the allocation, in every way that there is.
fn starts(site: &Site, nodes: usize, ranks: usize) -> Vec<Check> {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(cause) => return vec![Check::warn("launchers", cause.to_string(), "start the tool by its full path")],
    };
    let mut ways: Vec<(String, Launcher, Vec<String>)> = Vec::new();
    for name in ["mpirun", "mpiexec"] {
        if let Ok(launcher) = Launcher::choose(name, &program) {
            ways.push((format!("--launcher {name}"), launcher, Vec::new()));
            break;
        }
    }
    if let Ok(srun) = Launcher::choose("srun", &program) {
        // Others belong to machines where they are the default.
        for kind in site.mpi_types.iter().filter(|kind| kind.starts_with("pmi") || **kind == site.mpi_default) {
            let options = [format!("--mpi={kind}"), format!("--nodes={nodes}"), "--overlap".to_owned()];
            let words = format!("--launcher srun --launcher-arg=--mpi={kind}");
            ways.push((words, srun.clone(), options.into()));
        }
    }
    let (mut works, mut fails) = (Vec::new(), Vec::new());
    let mut checks = Vec::new();
    for (words, launcher, options) in ways {
        let name = words.replace("--launcher ", "").replace("--launcher-arg=--mpi=", "");
        match messages::start(&launcher, &options, ranks, &program, Voice::Silent) {
            Ok((_, seconds)) => {
                works.push(words);
                let found = format!("{ranks} ranks on {nodes} nodes start, talk and end in {seconds:.1} s");
                checks.push(Check::ok(&name, found));
            }
            Err(found) => fails.push(format!("{name} does not ({found})")),
        }
    }
    let fails = fails.join("; ");
    checks.push(match works.is_empty() {
        true => Check::fail("launchers", fails, "load the module of this tool's MPI, and try again"),
        false if fails.is_empty() => Check::ok("launchers", format!("all work: {}", works.join("; "))),
        false => Check::ok("launchers", format!("these work: {}; {fails}", works.join("; "))),
    });
    checks
}

/// The longest time that a checkpoint of the run in this directory took to get to the disk, if it holds a run.
fn longest_save(directory: &Path) -> Option<Duration> {
    let journal = Journal::read(&RunDirectory::open(directory).ok()?).ok()?;
    let seconds = journal.iter().filter_map(|entry| match entry.event {
        Event::CheckpointCommitted { seconds, .. } => Duration::try_from_secs_f64(seconds).ok(),
        _ => None,
    });
    seconds.max()
}

/// The first two numbers of a version.
fn number(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    fn site() -> Site {
        Site {
            version: "22.05.8".into(),
            requeues: true,
            kill_wait: Some(Duration::from_secs(30)),
            node_timeout: Some(Duration::from_secs(300)),
            pause: Duration::from_secs(121),
            mpi_types: vec!["pmix".into()],
            mpi_default: "none".into(),
            pmix_fence: Some("ring".into()),
        }
    }

    /// The names of what deserves a look.
    fn doubts(site: &Site, save: Option<u64>) -> Vec<String> {
        let checks = judge(site, save.map(Duration::from_secs));
        checks.into_iter().filter(|check| check.verdict != Verdict::Ok).map(|check| check.name).collect()
    }

    #[test]
    fn a_site_is_doubted_for_what_would_cost_a_run_something() {
        assert_eq!(doubts(&site(), Some(29)), [""; 0]);
        assert_eq!(doubts(&site(), Some(31)), ["KillWait"]);
        assert_eq!(doubts(&Site { mpi_types: Vec::new(), ..site() }, None), ["srun"]);
        assert_eq!(doubts(&Site { pmix_fence: None, ..site() }, None), ["PMIx"]);
        assert_eq!(doubts(&Site { version: "19.05.5".into(), ..site() }, None), ["Slurm"]);
        assert_eq!(doubts(&Site { version: "who knows".into(), requeues: false, ..site() }, None), [""; 0]);
    }
}
