//! The script of a job: what it asks of Slurm, and the one command that it runs, as a person would write it and may edit it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Result};

/// What a job asks for, and what it runs; [`Script::text`] is a function of it and of nothing else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The job's name.
    pub name: String,
    /// What whoever reads the script should know of it, a line each.
    pub remarks: Vec<String>,
    /// The directory in which the command begins.
    pub workplace: PathBuf,
    /// The file that takes what the command says; `%j` in its name stands for the job's.
    pub log: PathBuf,
    /// The nodes, spare ones included.
    pub nodes: usize,
    /// The tasks on each node.
    pub tasks_a_node: usize,
    /// The processors of each task.
    pub cpus_a_task: usize,
    /// The memory on each node in bytes, if it is known what the tasks need.
    pub memory_a_node: Option<u64>,
    /// The limit of wall time, in Slurm's words; the partition's default, if there is none.
    pub time: Option<String>,
    /// The wall time to be content with, if that lets the job begin earlier, in Slurm's words.
    pub least_time: Option<String>,
    /// The partition, if not the default one.
    pub partition: Option<String>,
    /// The account that pays, if not the user's default one.
    pub account: Option<String>,
    /// How long before the end of its time the command is to get USR1, if at all.
    pub signal_lead: Option<Duration>,
    /// Whether the job may be put into the queue again.
    pub requeue: bool,
    /// Whether the job outlives the death of a node.
    pub survives_nodes: bool,
    /// The nodes to keep away from, and why.
    pub avoid: Vec<(String, String)>,
    /// Options for `sbatch`, as the user has written them; they come last, and so count.
    pub options: Vec<String>,
    /// The command.
    pub command: Vec<String>,
}

impl Script {
    /// The script.
    ///
    /// # Errors
    ///
    /// A bad command, if a word of it cannot stand in a line: it has a line break or another control character.
    pub fn text(&self) -> Result<String> {
        let mut text = "#!/bin/bash\n".to_owned();
        for remark in &self.remarks {
            line(&mut text, &format!("# {remark}"));
        }
        let mut option = |name: &str, value: &str| directive(&mut text, &format!("--{name}={value}"));
        option("job-name", &self.name)?;
        option("chdir", &text_of(&self.workplace)?)?;
        option("output", &self.log_pattern()?)?;
        option("nodes", &self.nodes.to_string())?;
        option("ntasks-per-node", &self.tasks_a_node.to_string())?;
        option("cpus-per-task", &self.cpus_a_task.to_string())?;
        let memory = self.memory_a_node.map(|bytes| format!("{}M", bytes.div_ceil(1 << 20)));
        let wishes = [
            ("mem", &memory),
            ("time", &self.time),
            ("time-min", &self.least_time),
            ("partition", &self.partition),
            ("account", &self.account),
        ];
        for (name, value) in wishes {
            if let Some(value) = value {
                option(name, value)?;
            }
        }
        self.behaviour(&mut text)?;
        if !self.options.is_empty() {
            line(&mut text, "# as asked for on the command line:");
        }
        for option in &self.options {
            directive(&mut text, option)?;
        }
        text.push('\n');
        line(&mut text, "# exec: what Slurm signals is then the supervisor itself, not a shell that waits for it");
        let words = self.command.iter().map(|word| quote(word)).collect::<Result<Vec<_>>>()?;
        line(&mut text, &format!("exec {}", words.join(" ")));
        Ok(text)
    }

    /// What is to happen at the end of the time and when nodes die.
    fn behaviour(&self, text: &mut String) -> Result<()> {
        match self.requeue {
            true => {
                line(text, "# each life of the job goes on in the same log, from the newest good checkpoint");
                directive(text, "--requeue")?;
            }
            false => directive(text, "--no-requeue")?,
        }
        directive(text, "--open-mode=append")?;
        if let Some(lead) = self.signal_lead {
            line(
                text,
                "# a warning before the time is over, at which the run saves; Slurm gives it up to a minute early",
            );
            directive(text, &format!("--signal=B:USR1@{}", lead.as_secs()))?;
        }
        if self.survives_nodes {
            line(
                text,
                "# the death of a node ends what ran there, and not the job: the supervisor goes on with the others",
            );
            directive(text, "--no-kill")?;
        }
        if !self.avoid.is_empty() {
            for (node, why) in &self.avoid {
                line(text, &format!("# {node} {}", why.replace(char::is_control, " ")));
            }
            let names: Vec<&str> = self.avoid.iter().map(|(node, _)| node.as_str()).collect();
            directive(text, &format!("--exclude={}", names.join(",")))?;
        }
        Ok(())
    }

    /// The log's name as Slurm reads it: a percent sign of the directory's own is doubled.
    fn log_pattern(&self) -> Result<String> {
        let folder = self.log.parent().unwrap_or(Path::new(""));
        let name = text_of(Path::new(self.log.file_name().unwrap_or_default()))?;
        let folder = text_of(folder)?;
        if folder.contains('\\') {
            return Err(Error::case(format!(
                "the directory {folder} of the log has a backslash, which Slurm does not take"
            ))
            .hint("choose another run directory: --dir DIR"));
        }
        Ok(format!("{}/{name}", folder.replace('%', "%%")))
    }

    /// The log's name for the job of this id.
    pub fn log_of(&self, id: &super::JobId) -> PathBuf {
        let name = self.log.file_name().unwrap_or_default().to_string_lossy();
        self.log.with_file_name(name.replace("%j", &id.0))
    }
}

/// Options for `sbatch` at the head of a command line, and the command after them.
pub fn split_options<T: AsRef<std::ffi::OsStr>>(words: &[T]) -> (&[T], &[T]) {
    let is_option = |word: &T| word.as_ref().as_encoded_bytes().starts_with(b"-");
    words.split_at(words.iter().position(|word| !is_option(word)).unwrap_or(words.len()))
}

fn line(text: &mut String, line: &str) {
    writeln!(text, "{line}").expect("a string takes any text");
}

fn directive(text: &mut String, option: &str) -> Result<()> {
    let option = match option.split_once('=') {
        Some((name, value)) if !value.is_empty() => format!("{}={}", quote(name)?, quote(value)?),
        _ => quote(option)?,
    };
    line(text, &format!("#SBATCH {option}"));
    Ok(())
}

/// A word as a shell, and Slurm in its own lines, reads it back.
///
/// # Errors
///
/// A bad command, if it cannot stand in a line.
pub fn quote(word: &str) -> Result<String> {
    let refused = || Error::case(format!("{word:?} cannot stand in a job script")).hint("it must not have line breaks");
    if word.contains(char::is_control) {
        return Err(refused());
    }
    // Bare where that is safe, so that a person likes to read it.
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return Ok(word.to_owned());
    }
    shlex::try_quote(word).map(|quoted| quoted.into_owned()).map_err(|_| refused())
}

fn text_of(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).ok_or_else(|| Error::case(format!("the path {path:?} is not UTF-8")))
}

/// A limit of wall time as Slurm takes it, from a span of time.
pub fn time_limit(time: Duration) -> String {
    // What is begun counts: Slurm itself reckons in minutes.
    let seconds = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    format!("{days}-{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::super::JobId;
    use super::*;

    fn script() -> Script {
        Script {
            name: "heat".into(),
            remarks: vec!["a remark".into()],
            workplace: "/home/me".into(),
            log: "/scratch/heat.run/job-%j.log".into(),
            nodes: 3,
            tasks_a_node: 4,
            cpus_a_task: 1,
            memory_a_node: None,
            time: None,
            least_time: None,
            partition: None,
            account: None,
            signal_lead: None,
            requeue: true,
            survives_nodes: false,
            avoid: Vec::new(),
            options: Vec::new(),
            command: ["steadfast", "launch", "-n", "12"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn a_script_asks_for_what_is_wished_and_for_nothing_else() {
        let text = script().text().unwrap();
        let expected = "\
#!/bin/bash
# a remark
#SBATCH --job-name=heat
#SBATCH --chdir=/home/me
#SBATCH --output=/scratch/heat.run/job-%j.log
#SBATCH --nodes=3
#SBATCH --ntasks-per-node=4
#SBATCH --cpus-per-task=1
# each life of the job goes on in the same log, from the newest good checkpoint
#SBATCH --requeue
#SBATCH --open-mode=append

# exec: what Slurm signals is then the supervisor itself, not a shell that waits for it
exec steadfast launch -n 12
";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_wish_is_a_line() {
        let text = Script {
            memory_a_node: Some((1 << 20) + 1),
            time: Some("1-00:00:00".into()),
            least_time: Some("60".into()),
            partition: Some("big".into()),
            account: Some("me".into()),
            signal_lead: Some(Duration::from_secs(90)),
            requeue: false,
            survives_nodes: true,
            cpus_a_task: 2,
            avoid: vec![("n1".into(), "fell\nsilent".into()), ("n7".into(), "is down".into())],
            options: vec!["--constraint=a|b".into()],
            ..script()
        };
        let text = text.text().unwrap();
        for line in [
            "#SBATCH --mem=2M",
            "#SBATCH --time=1-00:00:00",
            "#SBATCH --time-min=60",
            "#SBATCH --partition=big",
            "#SBATCH --account=me",
            "#SBATCH --signal=B:USR1@90",
            "#SBATCH --no-requeue",
            "#SBATCH --no-kill",
            "# n1 fell silent",
            "#SBATCH --exclude=n1,n7",
            "#SBATCH --constraint='a|b'",
            "#SBATCH --cpus-per-task=2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn words_reach_the_command_as_they_were_written() {
        let words = ["echo", "a b", "it's", "$HOME", "\"", "*", "", "-x", "naïve", "!", "a\\b"];
        let text = Script { command: words.map(str::to_owned).into(), ..script() }.text().unwrap();
        // What is run must be what was meant: the shell itself is asked.
        let text = text.replace("exec echo", "exec printf '%s\\n' echo");
        let said = std::process::Command::new("bash").args(["-c", &text]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap().lines().collect::<Vec<_>>(), words);
    }

    #[test]
    fn what_cannot_stand_in_a_line_is_refused() {
        for script in [
            Script { name: "a\nrm -r".into(), ..script() },
            Script { command: vec!["a\nb".into()], ..script() },
            Script { workplace: "/a\u{7}".into(), ..script() },
            Script { log: "/a\\b/job-%j.log".into(), ..script() },
        ] {
            assert_eq!(script.text().unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn the_log_is_found_by_the_id_of_the_job() {
        let script = Script { log: "/100%j/job-%j.log".into(), ..script() };
        assert!(script.text().unwrap().contains("--output=/100%%j/job-%j.log"));
        assert_eq!(script.log_of(&JobId("12".into())), Path::new("/100%j/job-12.log"));
    }

    #[test]
    fn options_stand_before_the_command() {
        assert_eq!(split_options(&["-C", "heat", "-x"]), (&["-C"][..], &["heat", "-x"][..]));
        assert_eq!(split_options(&["--a=b"]), (&["--a=b"][..], &[][..]));
    }

    #[test]
    fn spans_of_time_are_written_as_slurm_reads_them() {
        assert_eq!(time_limit(Duration::from_secs(93_784)), "1-02:03:04");
        assert_eq!(time_limit(Duration::from_millis(500)), "0-00:00:01");
    }
}
