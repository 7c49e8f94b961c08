//! What a launcher says of a rank that died: it knows which was the first, where all ranks end within a moment.
//!
//! Launchers say it for people, each in its own words; what is not understood is passed over.

/// The codes with which ranks end that have agreed on it, or have told why.
const OWN_CODES: [&str; 5] = ["0", "1", "2", "75", "101"];

/// A rank that died, as its launcher has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The rank.
    pub rank: usize,
    /// The signal that killed it, if that is told.
    pub signal: Option<i32>,
}

impl Complaint {
    /// Reads a line of a launcher's; none, if it tells of no death.
    pub fn read(line: &str) -> Option<Complaint> {
        Self::of_srun(line).or_else(|| Self::of_open_mpi(line))
    }

    /// As in `srun: error: node1: tasks 2-3: Killed`.
    fn of_srun(line: &str) -> Option<Complaint> {
        let (_node, rest) = line.strip_prefix("srun: error: ")?.split_once(": task")?;
        let (ranks, how) = rest.trim_start_matches('s').split_once(": ")?;
        let signal = match how.trim_end_matches(" (core dumped)") {
            "Killed" => Some(9),
            "Segmentation fault" => Some(11),
            "Bus error" => Some(7),
            "Aborted" => Some(6),
            "Floating point exception" => Some(8),
            "Illegal instruction" => Some(4),
            how if OWN_CODES.contains(&how.strip_prefix("Exited with exit code ")?) => return None,
            _ => None,
        };
        Some(Complaint { rank: first_number(ranks)?, signal })
    }

    /// As in `mpirun noticed that process rank 3 with PID 22 on node node2 exited on signal 9 (Killed).`
    fn of_open_mpi(line: &str) -> Option<Complaint> {
        let (_, rest) = line.split_once(" noticed that process rank ")?;
        let (_, signal) = rest.split_once("exited on signal ")?;
        Some(Complaint { rank: first_number(rest)?, signal: first_number(signal).map(|signal| signal as i32) })
    }
}

/// The number at the beginning of a text, perhaps behind a bracket.
fn first_number(text: &str) -> Option<usize> {
    let text = text.trim_start_matches([' ', '[']);
    text.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_to_die_is_named_in_each_launchers_words() {
        for (line, rank, signal) in [
            ("srun: error: node1: task 1: Killed", 1, Some(9)),
            ("srun: error: node1: tasks 12-13: Segmentation fault (core dumped)", 12, Some(11)),
            ("srun: error: node1: tasks [4,7]: Aborted", 4, Some(6)),
            ("srun: error: node2: task 3: Exited with exit code 137", 3, None),
            ("mpirun noticed that process rank 3 with PID 22 on node node2 exited on signal 9 (Killed).", 3, Some(9)),
        ] {
            assert_eq!(Complaint::read(line), Some(Complaint { rank, signal }), "{line}");
        }
    }

    #[test]
    fn whoever_ended_in_good_order_has_not_died() {
        for line in [
            "srun: error: node2: task 3: Exited with exit code 75",
            "srun: error: node2: task 3: Exited with exit code 101",
            "srun: error: Node failure on node3",
            "srun: error: node1: task 0: Terminated",
            "[WARN ] something else",
            "srun: error: node1: task ",
        ] {
            assert_eq!(Complaint::read(line), None, "{line}");
        }
    }
}
