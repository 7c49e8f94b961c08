//! The allocation of the batch job that this supervisor runs in: its nodes, its time, its place in the queue.
//!
//! What the batch system says of a node is believed when it calls it dead; that it calls it alive means little for some
//! minutes, so nodes are called by name besides before ranks are launched again.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use jiff::Timestamp;

use super::nodes::{Node, Nodes, Placement};
use crate::batch::slurm::without_job_defaults;
use crate::batch::{Job, JobId, JobState, Scheduler, Slurm};
use crate::error::{Error, Kind, Result};
use crate::sys::process::{host, is_same_host};

/// How long a node may take to start nothing at all. Those that live need a tenth of a second.
const CALL: Duration = Duration::from_secs(5);

/// And if not even the node that we are on answers.
const PATIENT_CALL: Duration = Duration::from_secs(60);

/// Before the limit of wall time so much is left for the supervisor itself, to put the job into the queue again.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// The allocation of the batch job that this process runs in.
#[derive(Debug, Clone)]
pub struct Allocation {
    scheduler: Rc<dyn Scheduler>,
    job: JobId,
    /// How often the job had been put into the queue again when this life of it began.
    restart: u32,
    /// All nodes that it was given, whatever became of them.
    nodes: Nodes,
    /// The processors of each of them.
    cpus: Vec<usize>,
    /// The ranks that it was asked for.
    tasks: Option<usize>,
    /// The node that this process is on, by its name there.
    here: String,
    /// The name of all that is started in it on behalf of this supervisor.
    mark: String,
    /// Whether the job is put into the queue again when the run cannot go on here.
    pub requeue: bool,
    /// Whether the job outlives the death of its nodes, even of the one that this process is on.
    pub outlives_nodes: bool,
}

/// What there is of an allocation at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Survey {
    /// The nodes that may be used.
    pub nodes: Nodes,
    /// The others, each with what is known of it.
    pub dead: BTreeMap<String, String>,
    /// When the ranks must have saved, if there is a limit.
    pub deadline: Option<Timestamp>,
}

/// What becomes of a job.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Fate {
    /// It has its nodes.
    Goes(Survey),
    /// It is being ended, and nothing more is to be started; the sentence says so.
    Ends(String),
}

impl Allocation {
    /// The allocation that this process is in, by what its environment says; none, if it is in none.
    ///
    /// # Errors
    /// A run error, if the environment says what no batch system does, or the batch system gives no answer.
    pub fn of_this_process() -> Result<Option<Allocation>> {
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        Self::read(read, Rc::new(Slurm::new()))
    }

    fn read(read: impl Fn(&str) -> Option<String>, scheduler: Rc<dyn Scheduler>) -> Result<Option<Allocation>> {
        // The last task of an array has the array's own id: what is said of that would be said of all tasks.
        let task = || Some(format!("{}_{}", read("SLURM_ARRAY_JOB_ID")?, read("SLURM_ARRAY_TASK_ID")?));
        let Some(job) = read("SLURM_JOB_ID").map(|id| JobId(task().unwrap_or(id))) else { return Ok(None) };
        let names = scheduler.names(&read("SLURM_JOB_NODELIST").unwrap_or_default())?;
        let number = |name: &str| read(name).and_then(|value| value.parse::<usize>().ok());
        let slots = match number("SLURM_NTASKS_PER_NODE") {
            Some(slots) => vec![slots; names.len()],
            None => {
                let list = read("SLURM_TASKS_PER_NODE").unwrap_or_default();
                counts(&list).filter(|slots| slots.len() == names.len()).unwrap_or_else(|| vec![1; names.len()])
            }
        };
        let nodes = names.into_iter().zip(slots).map(|(name, slots)| Node { name, slots: slots.max(1) }).collect();
        // The environment may be that of another job, from which this one was submitted.
        let known = scheduler.job(&job)?.map(|job| job.restarts);
        let restart = known.unwrap_or_else(|| number("SLURM_RESTART_COUNT").unwrap_or(0) as u32);
        let here = read("SLURMD_NODENAME").unwrap_or_else(host);
        Ok(Some(Allocation {
            scheduler,
            mark: format!("steadfast-{restart}-{here}-{}", std::process::id()),
            here,
            job,
            restart,
            nodes: Nodes::new(nodes),
            cpus: read("SLURM_JOB_CPUS_PER_NODE").and_then(|list| counts(&list)).unwrap_or_default(),
            tasks: number("SLURM_NTASKS"),
            requeue: false,
            outlives_nodes: false,
        }))
    }

    /// The batch system.
    pub fn scheduler(&self) -> &'static str {
        self.scheduler.name()
    }

    /// The job.
    pub fn job(&self) -> &JobId {
        &self.job
    }

    /// How often the job had been put into the queue again when this life of it began.
    pub fn restart(&self) -> u32 {
        self.restart
    }

    /// All nodes that it was given.
    pub fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The same allocation with other nodes, or fewer.
    pub fn with_nodes(self, nodes: Nodes) -> Allocation {
        Allocation { nodes, ..self }
    }

    /// The same allocation with room for so many ranks: if the job was not asked for as many, its processors are counted,
    /// and if they are too few as well, the nodes share the ranks evenly.
    pub fn with_room_for(mut self, ranks: usize) -> Allocation {
        let names = self.nodes.names();
        if self.nodes.slots() < ranks && !names.is_empty() {
            let even = vec![ranks.div_ceil(names.len()); names.len()];
            let enough = |cpus: &Vec<usize>| cpus.len() == names.len() && cpus.iter().sum::<usize>() >= ranks;
            let slots = std::mem::take(&mut self.cpus);
            let slots = if enough(&slots) { slots } else { even };
            self.nodes = Nodes::new(names.into_iter().zip(slots).map(|(name, slots)| Node { name, slots }).collect());
        }
        self
    }

    /// The ranks that the job was asked for.
    pub fn tasks(&self) -> Option<usize> {
        self.tasks
    }

    /// The name of all that is started in it on behalf of this supervisor.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// What there is of it now.
    ///
    /// # Errors
    /// A run error, if the batch system gives no answer, or none that makes sense.
    pub(super) fn survey(&self) -> Result<Fate> {
        let Some(job) = self.scheduler.job(&self.job)? else {
            return Ok(Fate::Ends(format!("{} knows nothing of job {}", self.scheduler.name(), self.job)));
        };
        if let Some(end) = self.end_of(&job) {
            return Ok(Fate::Ends(end));
        }
        let names = self.nodes.names();
        let states = self.scheduler.nodes(&names)?;
        let mut dead = BTreeMap::new();
        for (name, state) in names.into_iter().zip(states) {
            if state.is_down() {
                dead.insert(name, format!("is down, as {} says", self.scheduler.name()));
            } else if !job.nodes.iter().any(|node| is_same_host(node, &name)) {
                dead.insert(name, "is no longer part of the job".to_owned());
            }
        }
        let deadline = job.time_left.map(|left| {
            let margin = LAST_WORDS.min(left / 10);
            Timestamp::now() + (left - margin)
        });
        Ok(Fate::Goes(Survey { nodes: self.nodes.filtered(|name| !dead.contains_key(name)), dead, deadline }))
    }

    /// What holds as long as nothing more is known than this limit of time.
    pub(super) fn as_given(&self, deadline: Option<Timestamp>) -> Survey {
        Survey { nodes: self.nodes.clone(), dead: BTreeMap::new(), deadline }
    }

    /// Whether all ranks are started without help from the batch system.
    pub(super) fn is_this_node_alone(&self) -> bool {
        self.nodes.names().iter().all(|name| is_same_host(name, &self.here))
    }

    fn look(&self) -> Result<Job> {
        self.scheduler.job(&self.job)?.ok_or_else(|| {
            Error::new(
                Kind::Run,
                format!("{} knows nothing of job {}, in which this runs", self.scheduler.name(), self.job),
            )
        })
    }

    /// Why nothing more is to be started in the job, if so.
    fn end_of(&self, job: &Job) -> Option<String> {
        if job.restarts > self.restart {
            return Some(format!("job {} has another life by now: this one was cut off", self.job));
        }
        // A state that nobody has heard of is no reason to give up.
        let goes = matches!(job.state, JobState::Running | JobState::Other(_));
        (!goes).then(|| format!("job {} is {}", self.job, job.state))
    }

    /// The nodes of a placement on which nothing can be started.
    pub(super) fn roll_call(&self, placement: &Placement) -> BTreeSet<String> {
        let silent = self.scheduler.silent_among(&placement.names(), CALL);
        // A batch system that is busy is slow for all of them.
        if self.is_here(&silent) { self.scheduler.silent_among(&placement.names(), PATIENT_CALL) } else { silent }
    }

    /// Whether the node that this process is on is among these.
    pub(super) fn is_here(&self, nodes: &BTreeSet<String>) -> bool {
        nodes.iter().any(|node| is_same_host(node, &self.here))
    }

    /// Ends all that was started in it on behalf of this supervisor, on whatever node.
    pub(super) fn end_all(&self) -> Result<()> {
        self.scheduler.end_marked(&self.job, &self.mark)
    }

    /// Puts the job into the queue again, unless it is being ended by somebody else; then the sentence says so.
    pub(super) fn put_back(&self, avoid: &[String]) -> Result<Option<String>> {
        let job = self.look()?;
        // Once its time is over Slurm ends it, and yet it may have another life.
        if let Some(end) = self.end_of(&job).filter(|_| job.restarts > self.restart || job.state != JobState::TimedOut)
        {
            return Ok(Some(end));
        }
        self.scheduler.requeue(&self.job, avoid).map(|()| None)
    }

    /// Whether a sentry is to watch this node from another one.
    pub(super) fn wants_sentry(&self) -> bool {
        self.outlives_nodes && self.requeue
    }

    /// The command that watches this node from one of these, if there is another one among them.
    pub(super) fn sentry(&self, nodes: &Nodes) -> Option<Command> {
        let post = nodes.names().into_iter().find(|name| !is_same_host(name, &self.here))?;
        let tool = std::env::current_exe().ok()?;
        let mut command = Command::new("srun");
        without_job_defaults(&mut command);
        command.env("SLURM_EXPORT_ENV", "ALL");
        command.args(["--overlap", "--mpi=none", "--nodes=1", "--ntasks=1", "--gres=none"]);
        command.args([format!("--nodelist={post}"), format!("--job-name={}", self.mark)]);
        command.arg(tool).args(["sentry", "--job", &self.job.0, "--restart", &self.restart.to_string()]);
        command.args(["--node", &self.here]);
        // Its end is nothing that people need to hear of.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Some(command)
    }
}

/// The numbers in a list as Slurm writes it: `2(x3),1`.
fn counts(list: &str) -> Option<Vec<usize>> {
    let mut counts = Vec::new();
    for entry in list.split(',') {
        let (count, times) = match entry.split_once("(x") {
            Some((count, times)) => (count, times.strip_suffix(')')?.parse::<usize>().ok()?),
            None => (entry, 1),
        };
        counts.extend(std::iter::repeat_n(count.parse::<usize>().ok()?, times));
    }
    Some(counts)
}

#[cfg(test)]
impl Allocation {
    /// An allocation of job 7 with these nodes and tasks on them, of which some do not answer.
    pub(super) fn in_test(nodes: &str, tasks: &str, silent: &[&'static str]) -> Allocation {
        tests::Fake::with_silent(silent).allocation(&[("SLURM_JOB_NODELIST", nodes), ("SLURM_TASKS_PER_NODE", tasks)])
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::path::Path;

    use super::*;
    use crate::batch::{NodeState, Partition};

    /// A batch system with one job, number 7.
    #[derive(Debug, Default)]
    pub(super) struct Fake {
        job: Option<Job>,
        down: Vec<&'static str>,
        silent: Vec<&'static str>,
        /// What was asked of it.
        asked: RefCell<Vec<String>>,
    }

    impl Fake {
        pub fn with_silent(silent: &[&'static str]) -> Fake {
            Fake { silent: silent.to_vec(), ..Fake::default() }
        }

        fn running(nodes: &[&str]) -> Fake {
            let job = Job {
                id: JobId("7".into()),
                state: JobState::Running,
                reason: None,
                nodes: nodes.iter().map(|&node| node.to_owned()).collect(),
                batch_host: None,
                restarts: 0,
                time_left: Some(Duration::from_secs(1000)),
            };
            Fake { job: Some(job), ..Fake::default() }
        }

        pub fn allocation(self, variables: &[(&str, &str)]) -> Allocation {
            let read = |name: &str| match name {
                "SLURM_JOB_ID" => Some("7".to_owned()),
                _ => variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()),
            };
            Allocation::read(read, Rc::new(self)).unwrap().unwrap()
        }
    }

    impl Scheduler for Fake {
        fn name(&self) -> &'static str {
            "Fake"
        }
        fn submit(&self, _: &Path) -> Result<JobId> {
            unreachable!("a supervisor submits nothing")
        }
        fn job(&self, _: &JobId) -> Result<Option<Job>> {
            Ok(self.job.clone())
        }
        fn nodes(&self, names: &[String]) -> Result<Vec<NodeState>> {
            let is_down = |name: &String| self.down.contains(&name.as_str());
            let state = |name| if is_down(name) { NodeState::Down("DOWN".into()) } else { NodeState::Up };
            Ok(names.iter().map(state).collect())
        }
        fn names(&self, list: &str) -> Result<Vec<String>> {
            Ok(list.split(',').map(str::to_owned).collect())
        }
        fn partition(&self, _: Option<&str>) -> Result<Partition> {
            unreachable!("a supervisor has its nodes")
        }
        fn requeue(&self, id: &JobId, avoid: &[String]) -> Result<()> {
            self.asked.borrow_mut().push(format!("requeue {id} without {}", avoid.join(",")));
            Ok(())
        }
        fn cancel(&self, _: &JobId) -> Result<()> {
            unreachable!("a supervisor cancels nothing")
        }
        fn end_marked(&self, _: &JobId, _: &str) -> Result<()> {
            Ok(())
        }
        fn silent_among(&self, nodes: &[String], _: Duration) -> BTreeSet<String> {
            nodes.iter().filter(|node| self.silent.contains(&node.as_str())).cloned().collect()
        }
    }

    const NODES: [(&str, &str); 2] = [("SLURM_JOB_NODELIST", "a,b,c"), ("SLURM_NTASKS_PER_NODE", "2")];

    fn nodes(text: &str) -> Nodes {
        Nodes::parse(text).unwrap()
    }

    #[test]
    fn the_environment_tells_the_nodes_and_what_they_take() {
        assert!(Allocation::read(|_| None, Rc::new(Fake::default())).unwrap().is_none());
        assert_eq!(*Fake::default().allocation(&NODES).nodes(), nodes("a:2,b:2,c:2"));
        let listed = [("SLURM_JOB_NODELIST", "a,b,c"), ("SLURM_TASKS_PER_NODE", "3(x2),1"), ("SLURM_NTASKS", "7")];
        let allocation = Fake::default().allocation(&listed);
        assert_eq!((allocation.nodes(), allocation.tasks()), (&nodes("a:3,b:3,c:1"), Some(7)));
    }

    #[test]
    fn a_task_of_an_array_is_known_by_a_name_that_no_other_task_answers_to() {
        let task = [("SLURM_JOB_NODELIST", "a"), ("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "3")];
        assert_eq!(Fake::default().allocation(&task).job().0, "7_3");
        assert_eq!(Fake::default().allocation(&NODES).job().0, "7");
    }

    #[test]
    fn where_too_few_tasks_were_asked_for_the_processors_count_and_then_the_ranks() {
        let job =
            [("SLURM_JOB_NODELIST", "a,b"), ("SLURM_TASKS_PER_NODE", "1(x2)"), ("SLURM_JOB_CPUS_PER_NODE", "4,2")];
        let with = |ranks| Fake::default().allocation(&job).with_room_for(ranks).nodes().clone();
        assert_eq!(with(2), nodes("a:1,b:1"));
        assert_eq!(with(5), nodes("a:4,b:2"));
        assert_eq!(with(9), nodes("a:5,b:5"));
    }

    #[test]
    fn nodes_that_are_down_or_taken_away_are_not_used() {
        let fake = Fake { down: vec!["b"], ..Fake::running(&["a", "b"]) };
        let fate = fake.allocation(&NODES).survey().unwrap();
        let Fate::Goes(survey) = fate else { panic!("{fate:?}") };
        assert_eq!(survey.nodes, nodes("a:2"));
        assert_eq!(survey.dead["b"], "is down, as Fake says");
        assert_eq!(survey.dead["c"], "is no longer part of the job");
        let left = survey.deadline.unwrap().duration_since(Timestamp::now()).as_secs();
        assert!((980..=990).contains(&left), "the supervisor needs some seconds for itself: {left}");
    }

    #[test]
    fn a_job_goes_into_the_queue_again_unless_somebody_else_ends_it() {
        let after = |state: JobState, restarts| {
            let mut fake = Fake::running(&["a"]);
            fake.job = fake.job.map(|job| Job { state, restarts, ..job });
            let allocation = Allocation { restart: 0, ..fake.allocation(&NODES) };
            allocation.put_back(&["b".to_owned()]).unwrap()
        };
        assert_eq!(after(JobState::Running, 0), None);
        assert_eq!(after(JobState::TimedOut, 0), None, "its time is over, but another life may begin");
        assert_eq!(after(JobState::Other("TELEPORTING".into()), 0), None);
        assert_eq!(after(JobState::Ending, 0).as_deref(), Some("job 7 is ending"));
        assert_eq!(after(JobState::Cancelled, 0).as_deref(), Some("job 7 is cancelled"));
        assert!(after(JobState::Running, 1).unwrap().contains("this one was cut off"));
        assert!(after(JobState::TimedOut, 1).unwrap().contains("this one was cut off"));
    }

    #[test]
    fn lists_of_counts_are_read_as_slurm_writes_them() {
        assert_eq!(counts("2(x3),1"), Some(vec![2, 2, 2, 1]));
        assert_eq!(counts("4"), Some(vec![4]));
        assert_eq!(counts("many"), None);
        assert_eq!(counts("2(x"), None);
    }
}
