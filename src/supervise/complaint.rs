//! What a launcher says of a rank that died: it knows which was the first, where all ranks end within a moment.
//!
//! Launchers say it for people, each in its own words; what is not understood is passed over.

/// The codes with which a rank that cannot go on ends, and all others with it.
const OWN_CODES: [i32; 3] = [1, 2, 101];
/// The codes with which a rank ends in good order.
const GOOD_CODES: [i32; 2] = [0, 75];

/// A rank that ended, as its launcher has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Complaint {
    /// The rank.
    pub rank: usize,
    /// How it ended.
    pub how: How,
}

/// How a rank ended that had not left in good order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum How {
    /// It was killed, by this signal if that is told.
    Died(Option<i32>),
    /// It gave up, with this code.
    Gave(i32),
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
        let how = match how.trim_end_matches(" (core dumped)") {
            "Killed" => How::Died(Some(9)),
            "Segmentation fault" => How::Died(Some(11)),
            "Bus error" => How::Died(Some(7)),
            "Aborted" => How::Died(Some(6)),
            "Floating point exception" => How::Died(Some(8)),
            "Illegal instruction" => How::Died(Some(4)),
            "Out Of Memory" => How::Died(Some(9)),
            // Somebody asked it to end.
            "Terminated" => return None,
            how => match how.strip_prefix("Exited with exit code ").and_then(|code| code.parse().ok()) {
                Some(code) if GOOD_CODES.contains(&code) => return None,
                Some(code) if OWN_CODES.contains(&code) => How::Gave(code),
                _ => How::Died(None),
            },
        };
        Some(Complaint { rank: first_number(ranks)?, how })
    }

    /// As in `mpirun noticed that process rank 3 with PID 22 on node node2 exited on signal 9 (Killed).`
    fn of_open_mpi(line: &str) -> Option<Complaint> {
        let (_, rest) = line.split_once(" noticed that process rank ")?;
        let (_, signal) = rest.split_once("exited on signal ")?;
        let signal = first_number(signal).and_then(|signal| signal.try_into().ok());
        Some(Complaint { rank: first_number(rest)?, how: How::Died(signal) })
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
        for (line, rank, how) in [
            ("srun: error: node1: task 1: Killed", 1, How::Died(Some(9))),
            ("srun: error: node1: tasks 12-13: Segmentation fault (core dumped)", 12, How::Died(Some(11))),
            ("srun: error: node1: tasks [4,7]: Aborted", 4, How::Died(Some(6))),
            ("srun: error: node1: task 4: Out Of Memory", 4, How::Died(Some(9))),
            ("srun: error: node1: task 4: Real-time signal 3", 4, How::Died(None)),
            ("srun: error: node2: task 3: Exited with exit code 137", 3, How::Died(None)),
            ("srun: error: node2: task 3: Exited with exit code 101", 3, How::Gave(101)),
            (
                "mpirun noticed that process rank 3 with PID 22 on node node2 exited on signal 9 (Killed).",
                3,
                How::Died(Some(9)),
            ),
        ] {
            assert_eq!(Complaint::read(line), Some(Complaint { rank, how }), "{line}");
        }
    }

    #[test]
    fn whoever_ended_in_good_order_has_not_died() {
        for line in [
            "srun: error: node2: task 3: Exited with exit code 75",
            "srun: error: node2: task 3: Exited with exit code 0",
            "srun: error: Node failure on node3",
            "srun: error: node1: task 0: Terminated",
            "[WARN ] something else",
            "srun: error: node1: task ",
        ] {
            assert_eq!(Complaint::read(line), None, "{line}");
        }
    }
}
