//! What submit, stop, status and list promise where there is a batch system; its commands are played by scripts on PATH.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use jiff::Timestamp;
use serde_json::Value;
use steadfast::rundir::{Event, JobRecord, Journal, Lease, RunDirectory};

/// What `scontrol show job` says, from the file `job`: nothing is known of a job that is not there.
const SCONTROL: &str = r#"
case "$*" in
    *"show job"*) cat job 2>/dev/null || { echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1; };;
    *hostnames*) echo "$3" | tr , '\n';;
    *"show node"*) cat node;;
    *) echo "scontrol $*" >> calls;;
esac"#;

/// A model program, as far as submit is concerned; its case has 12 blocks.
const PROGRAM: &str = r#"
[ "$1" = plan ] || exit 3
[ "$2" = --help ] && { echo '      --json'; exit; }
grep -q cells "$2" || { printf 'error: no grid.cells\n\nhint: have some\n' >&2; exit 2; }
echo '{"blocks": 12, "threads": 1, "memory_bytes_a_rank": [0, 1000000], "staging_bytes_a_rank": [0, 1000000],
       "checkpoint_bytes": 12000000}'"#;

/// A directory to submit from, with a case, a program, and a batch system.
struct Room {
    room: tempfile::TempDir,
    /// What the user's environment has besides.
    variables: Vec<(&'static str, &'static str)>,
}

struct Said {
    code: i32,
    out: String,
    err: String,
}

impl Room {
    fn new() -> Room {
        let room = Room { room: tempfile::tempdir().unwrap(), variables: Vec::new() };
        fs::create_dir(room.path().join("bin")).unwrap();
        room.write("heat.toml", "[grid]\ncells = [8]\n");
        room.write("node", "NodeName=n1 State=ALLOCATED\n");
        room.script("heat", PROGRAM);
        room.script("bin/scontrol", SCONTROL);
        room.script("bin/sinfo", "echo 'sim*|4|1000'");
        room.script("bin/scancel", "echo \"scancel $*\" >> calls; sed -i s/PENDING/CANCELLED/ job");
        room.script("bin/sbatch", "echo \"sbatch $*\" >> calls; cp \"$2\" submitted; echo 12");
        room
    }

    fn path(&self) -> &Path {
        self.room.path()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path().join(name), text).unwrap();
    }

    /// Written by another process: a file that this one has open for writing in any thread cannot be run.
    fn script(&self, name: &str, script: &str) {
        let write = r#"printf '#!/bin/sh\n%s\n' "$1" > "$2" && chmod +x "$2""#;
        let path = self.path().join(name);
        let arguments = [OsStr::new("-c"), write.as_ref(), "write".as_ref(), script.as_ref(), path.as_ref()];
        assert!(Command::new("sh").args(arguments).status().unwrap().success());
    }

    /// What the batch system knows of job 12.
    fn job(&self, state: &str) {
        let job = format!(
            "JobId=12 JobState={state} Reason=None Restarts=1 RunTime=00:01:00 TimeLimit=01:00:00 NodeList=n1,n2 BatchHost=n1"
        );
        self.write("job", &(job + "\n"));
    }

    /// Runs the tool here.
    fn tool(&self, line: &str) -> Said {
        let path = std::env::var("PATH").unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_steadfast"))
            .args(line.split(' '))
            .current_dir(self.path())
            .env("PATH", format!("{}:{path}", self.path().join("bin").display()))
            .env_remove("STEADFAST_DIR")
            .envs(self.variables.iter().copied())
            .stdin(std::process::Stdio::null())
            .output()
            .unwrap();
        Said {
            code: output.status.code().unwrap(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn run(&self) -> RunDirectory {
        RunDirectory::new(self.path().join("heat.run"))
    }

    /// The changes that the batch system was asked for.
    fn calls(&self) -> String {
        fs::read_to_string(self.path().join("calls")).unwrap_or_default()
    }

    fn submitted(&self) -> String {
        fs::read_to_string(self.path().join("submitted")).unwrap()
    }
}

const SUBMIT: &str = "submit --nodes 2 -- ./heat run heat.toml";

#[test]
fn a_run_is_submitted_as_a_job_that_needs_nothing_from_where_it_was_submitted() {
    let room = Room::new();
    let said = room.tool(SUBMIT);
    assert_eq!(said.code, 0, "{}", said.err);
    let (script, here) = (room.submitted(), room.path().display());
    for line in [
        "#SBATCH --job-name=heat".to_owned(),
        format!("#SBATCH --chdir={here}"),
        format!("#SBATCH --output={here}/heat.run/job-%j.log"),
        "#SBATCH --nodes=2".to_owned(),
        "#SBATCH --ntasks-per-node=4".to_owned(),
        "#SBATCH --requeue".to_owned(),
        "#SBATCH --open-mode=append".to_owned(),
    ] {
        assert!(script.lines().any(|found| found == line), "{line} is missing in\n{script}");
    }
    let launch = format!("launch -n 8 --requeue --dir {here}/heat.run -- {here}/./heat run {here}/heat.toml\n");
    assert!(script.ends_with(&launch.replace("/./", "/")) || script.ends_with(&launch), "{script}");
    assert_eq!(fs::read_to_string(room.run().job_script()).unwrap(), script);
    assert_eq!(JobRecord::read(&room.run()).unwrap().unwrap().id, "12");
    for words in ["steadfast status", "tail -f", "steadfast stop", "scancel 12", "sbatch ", "job-12.log"] {
        assert!(said.out.contains(words), "{words} is missing in\n{}", said.out);
    }
}

#[test]
fn a_job_with_spare_nodes_outlives_the_death_of_one() {
    let room = Room::new();
    let said =
        room.tool("submit -N 2 --spare-nodes 1 --tasks-per-node 3 -- --mail-type=END ./heat run heat.toml --dir here");
    assert_eq!(said.code, 0, "{}", said.err);
    let script = room.submitted();
    for words in
        ["--nodes=3\n", "--ntasks-per-node=3\n", "--no-kill\n", "SBATCH --mail-type=END\n", "-n 6 --requeue --no-kill "]
    {
        assert!(script.contains(words), "{words} is missing in\n{script}");
    }
    assert!(script.lines().last().unwrap().ends_with("heat.toml"), "the directory is named once: {script}");
    assert!(room.path().join("here/job.json").exists());
}

#[test]
fn a_case_that_may_go_on_with_fewer_ranks_outlives_the_death_of_a_node_too() {
    let room = Room::new();
    let said = room.tool(&format!("{SUBMIT} --set recovery.fewest_ranks=2"));
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(room.submitted().contains("#SBATCH --no-kill\n"));
}

#[test]
fn what_a_user_has_set_for_all_jobs_is_in_the_script_and_outweighs_nothing_there() {
    let mut room = Room::new();
    room.variables = vec![
        ("SBATCH_PARTITION", "sim"),
        ("SBATCH_ACCOUNT", "me"),
        ("SBATCH_TIMELIMIT", "90"),
        ("SBATCH_NO_REQUEUE", "1"),
        ("SBATCH_QOS", "low"),
    ];
    room.script("bin/sbatch", "env | grep ^SBATCH_ > heard; cp \"$2\" submitted; echo 12");
    let said = room.tool("submit --time 30 -- ./heat run heat.toml");
    assert_eq!(said.code, 0, "{}", said.err);
    for line in ["#SBATCH --partition=sim", "#SBATCH --account=me", "#SBATCH --time=30", "#SBATCH --requeue"] {
        assert!(room.submitted().lines().any(|found| found == line), "{line} is missing in\n{}", room.submitted());
    }
    assert_eq!(fs::read_to_string(room.path().join("heard")).unwrap(), "SBATCH_QOS=low\n");
}

#[test]
fn a_dry_run_prints_the_script_and_touches_nothing() {
    let room = Room::new();
    let said = room.tool("submit --dry-run --nodes 2 -- ./heat run heat.toml");
    assert!(said.code == 0 && said.out.starts_with("#!/bin/bash\n"), "{}", said.err);
    assert!(!room.run().root().exists() && room.calls().is_empty());
    // Without a batch system it takes one word more.
    room.script("bin/sinfo", "echo nobody is here >&2; exit 1");
    let said = room.tool("submit --dry-run --nodes 2 -- ./heat run heat.toml");
    assert!(said.code == 2 && said.err.contains("--tasks-per-node"), "{}", said.err);
    let said = room.tool("submit --dry-run --nodes 2 --tasks-per-node 3 -- ./heat run heat.toml");
    assert!(said.code == 0 && said.out.contains("launch -n 6 "), "{}", said.err);
}

#[test]
fn what_is_wrong_is_said_before_anything_is_submitted() {
    let room = Room::new();
    room.write("bad.toml", "title = 'x'\n");
    for (line, words) in [
        ("submit -- ./heat run bad.toml", "no grid.cells\n\nhint: have some"),
        ("submit -- ./heat run none.toml", "the case file none.toml is not there"),
        ("submit -- ./cold run heat.toml", "the program \"./cold\" is no executable file"),
        ("submit -- -C gpu ./heat run heat.toml", "have their values after a ="),
        ("submit -- --nodes=3 ./heat run heat.toml", "submit itself decides on --nodes"),
        ("submit -- ./heat run heat.toml --fresh", "start the run over in each life"),
        ("submit -c 8 -- ./heat run heat.toml", "a node of the partition sim has 4"),
        ("submit --tasks-per-node 40 -- ./heat run heat.toml", "40 ranks take about 7.5 GiB on a node"),
        ("submit --partition tiny -- ./heat run heat.toml", "Slurm has no partition \"tiny\""),
        ("submit --time soon -- ./heat run heat.toml", "must be a span of time"),
        ("submit -- --mail-type=END", "no program is named"),
    ] {
        let said = room.tool(line);
        assert!(said.code == 2 && said.err.contains(words), "{line}: {} {}", said.code, said.err);
    }
    assert!(!room.run().root().exists() && room.calls().is_empty());
}

#[test]
fn a_job_that_slurm_refuses_leaves_no_record() {
    let room = Room::new();
    room.script("bin/sbatch", "echo 'Invalid account' >&2; exit 1");
    let said = room.tool(SUBMIT);
    assert!(said.code == 1 && said.err.contains("Invalid account"), "{}", said.err);
    assert_eq!(JobRecord::read(&room.run()).unwrap(), None);
}

#[test]
fn a_run_that_a_job_has_is_not_submitted_again_until_that_is_over() {
    let room = Room::new();
    assert_eq!(room.tool(SUBMIT).code, 0);
    for state in ["PENDING", "RUNNING", "COMPLETING", "TELEPORTING"] {
        room.job(state);
        let said = room.tool(SUBMIT);
        assert!(said.code == 1 && said.err.contains("job 12, which is"), "{state}: {}", said.err);
    }
    assert_eq!(room.calls().lines().count(), 1);
    room.job("CANCELLED");
    assert_eq!(room.tool(SUBMIT).code, 0);
}

#[test]
fn a_run_that_a_process_has_is_not_submitted() {
    for lease in [Lease::of_attempt, Lease::of_supervisor] {
        let room = Room::new();
        room.run().create().unwrap();
        let held = lease(&room.run()).unwrap();
        let said = room.tool(SUBMIT);
        let words = format!("process {}", std::process::id());
        assert!(said.code == 1 && said.err.contains(&words), "{}", said.err);
        assert!(room.calls().is_empty());
        drop(held);
        assert_eq!(room.tool(SUBMIT).code, 0);
    }
}

#[test]
fn a_node_that_was_lost_lately_is_kept_away_from() {
    let room = Room::new();
    room.run().create().unwrap();
    let journal = Journal::new(&room.run(), 1);
    let avoided = |node: &str| Event::NodeAvoided { node: node.into(), why: "fell silent".into() };
    journal.append_at("2020-01-01T00:00:00Z".parse().unwrap(), avoided("n7"));
    journal.append(avoided("n8"));
    let said = room.tool(SUBMIT);
    assert!(said.err.contains("keeps away from n8 "), "{}", said.err);
    assert!(room.submitted().contains("#SBATCH --exclude=n8\n") && room.submitted().contains("# n8 fell silent ("));
    let said = room.tool("submit --dry-run --use-all-nodes -- ./heat run heat.toml");
    assert!(said.code == 0 && !said.out.contains("exclude"), "{}", said.out);
}

#[test]
fn a_job_that_nobody_minds_is_told_and_put_into_the_queue_again() {
    let room = Room::new();
    assert_eq!(room.tool(SUBMIT).code, 0);
    room.job("RUNNING");
    let said = room.tool("submit --revive -- ./heat run heat.toml");
    assert!(said.code == 1 && said.err.contains("needs no revival"), "{}", said.err);
    room.write("node", "NodeName=n1 State=DOWN*\n");
    let status = room.tool("status heat.run");
    assert!(status.out.contains("its batch host n1 is dead (DOWN*)"), "{}", status.out);
    let said = room.tool(SUBMIT);
    assert!(said.code == 1 && said.err.contains("submit --revive --dir "), "{}", said.err);
    let said = room.tool("submit --revive --dir heat.run");
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(room.calls().ends_with("scontrol requeue 12\n"), "{}", room.calls());
    let journal = Journal::read(&room.run()).unwrap();
    assert!(matches!(&journal.last().unwrap().event, Event::JobRequeued { job, .. } if job == "12"));
}

#[test]
fn status_and_list_know_the_job() {
    let room = Room::new();
    assert_eq!(room.tool(SUBMIT).code, 0);
    room.job("PENDING");
    assert!(room.tool("status heat.run").out.contains("state       queued"), "{}", room.tool("status heat.run").out);
    room.job("RUNNING");
    let sentence = "12 of Slurm: running on n1,n2, put into the queue again once, 59 min 0 s left";
    let status = room.tool("status heat.run");
    assert!(status.out.contains(sentence), "{}", status.out);
    assert!(room.tool("list heat.run").err.contains(sentence));
    let json: Value = serde_json::from_str(&room.tool("status heat.run --json").out).unwrap();
    assert_eq!(
        (&json["job"]["id"], &json["job"]["state"], &json["state"]),
        (&"12".into(), &"running".into(), &"waiting".into())
    );
    assert_eq!((&json["job"]["seconds_left"], &json["job"]["nodes"][1]), (&3540.into(), &"n2".into()));
    fs::remove_file(room.path().join("job")).unwrap();
    assert!(room.tool("status heat.run").out.contains("12 of Slurm: forgotten"));
}

#[test]
fn a_batch_system_that_is_gone_is_no_error_of_status() {
    let room = Room::new();
    assert_eq!(room.tool(SUBMIT).code, 0);
    room.script("bin/scontrol", "echo 'Unable to contact slurm controller' >&2; exit 1");
    let status = room.tool("status heat.run");
    assert!(status.code == 0 && status.out.contains("Unable to contact slurm controller"), "{}", status.out);
}

#[test]
fn a_stop_asks_whoever_has_the_run_and_cancels_a_job_that_has_not_begun() {
    let room = Room::new();
    assert_eq!(room.tool(SUBMIT).code, 0);
    let said = room.tool("stop heat.run");
    assert!(said.code == 0 && said.err.contains("nothing to stop"), "{}", said.err);
    room.job("PENDING");
    let said = room.tool("stop heat.run --wait");
    assert!(said.code == 0 && said.err.contains("job 12 is cancelled"), "{}", said.err);
    assert!(room.calls().ends_with("scancel 12\n") && !room.run().stop_request().exists());
    room.job("RUNNING");
    let said = room.tool("stop heat.run --wait --limit 1s");
    assert!(said.code == 1 && said.err.contains("job 12 still has it"), "{}", said.err);
    assert!(room.run().stop_request().exists());
}

#[test]
fn a_stop_reaches_a_run_without_a_job() {
    let room = Room::new();
    room.run().create().unwrap();
    let held = Lease::of_attempt(&room.run()).unwrap();
    assert_eq!(room.tool("stop heat.run").code, 0);
    assert!(room.run().stop_request().exists());
    drop(held);
}

#[test]
fn the_json_of_a_submission_names_job_and_files() {
    let room = Room::new();
    let said = room.tool("submit --json --nodes 2 --launcher srun --launcher-arg=--mpi=pmix -- ./heat run heat.toml");
    assert!(room.submitted().contains(" --launcher srun --launcher-arg=--mpi=pmix --dir "), "{}", said.err);
    let json: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!((&json["job"], &json["ranks"], &json["nodes"]), (&"12".into(), &8.into(), &2.into()));
    let log = PathBuf::from(json["log"].as_str().unwrap());
    assert_eq!(log.file_name().unwrap(), "job-12.log");
    assert!(JobRecord::read(&room.run()).unwrap().unwrap().since <= Timestamp::now());
}
