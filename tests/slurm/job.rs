//! A job, as `scontrol show job` tells it.

/// What the stories want to know of a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// RUNNING, PENDING, COMPLETED, …
    pub state: String,
    pub reason: String,
    /// How often it was requeued.
    pub restarts: u32,
    /// The code with which its script ended.
    pub exit_code: i32,
    /// The node that runs its script.
    pub batch_host: Option<usize>,
    /// Its nodes, counted from 1.
    pub nodes: Vec<usize>,
}

/// Which of a job's nodes is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The one that runs the script, and with it the supervisor.
    BatchHost,
    /// The first of the others.
    Other,
}

impl Job {
    pub fn parse(text: &str) -> Job {
        let value = |key: &str| {
            text.split_whitespace().find_map(|word| word.strip_prefix(key)?.strip_prefix('=')).unwrap_or_default()
        };
        Job {
            state: value("JobState").to_owned(),
            reason: value("Reason").to_owned(),
            restarts: value("Restarts").parse().unwrap_or(0),
            exit_code: value("ExitCode").split(':').next().and_then(|code| code.parse().ok()).unwrap_or(0),
            batch_host: numbers(value("BatchHost")).first().copied(),
            nodes: numbers(value("NodeList")),
        }
    }

    /// One of its nodes.
    pub fn node(&self, which: Which) -> usize {
        let is_meant = |node: &usize| (Some(*node) == self.batch_host) == (which == Which::BatchHost);
        self.nodes.iter().copied().find(is_meant).unwrap_or_else(|| panic!("no such node: {self:?}"))
    }

    pub fn is_running(&self) -> bool {
        self.state == "RUNNING"
    }

    /// Whether nothing more will become of it.
    pub fn is_over(&self) -> bool {
        !["PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "REQUEUED", "SUSPENDED", "STOPPED"].contains(&&*self.state)
    }
}

/// The numbers in a list such as `node[1-2,4]` or `node3`.
fn numbers(list: &str) -> Vec<usize> {
    let inner = list.trim_start_matches(|letter: char| !letter.is_ascii_digit()).trim_end_matches(']');
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse::<usize>().ok()?)
    };
    inner.split(',').filter_map(range).flatten().collect()
}
