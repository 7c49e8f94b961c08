//! `steadfast doctor`: what is here, and whether it is sound.
//!
//! `machine` looks at the processor, memory, clock and HDF5, `storage` at the file system, `messages` at MPI: for that the
//! tool starts itself under the launcher; `batch` looks at Slurm, if it is here. Each look gives [`Check`]s; none of them is an error by itself.

use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

mod batch;
mod machine;
mod messages;
mod storage;

use super::show;
use super::terminal::{Terminal, Tone};
use crate::error::Result;

/// Check MPI, HDF5, the file system, the clock and the batch system of this machine.
///
/// Exit code 0 if runs can be trusted to this machine, 1 if something failed. Give it the directory where runs will
/// write, as in `steadfast doctor --dir /scratch/me --ranks 8`. Inside an allocation of a batch system it starts ranks on all
/// nodes with every launcher there is, and says which work
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory where runs will write.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub dir: PathBuf,

    /// The ranks to start for the check of MPI.
    #[arg(long, short = 'n', value_name = "RANKS", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub ranks: u32,

    /// The launcher, by name or path.
    #[arg(long, value_name = "NAME", default_value = "auto")]
    pub launcher: String,

    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,

    /// Be one of the ranks that the doctor starts.
    #[arg(long, hide = true)]
    pub probe: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Runs will work, but not as well as they could.
    Warn,
    /// Runs will not work, or cannot be trusted.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// What was looked at.
    pub name: String,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it, if it is not as it should be.
    pub hint: Option<String>,
}

impl Check {
    /// A check that found what it should.
    pub fn ok(name: &str, found: impl Into<String>) -> Self {
        Check { name: name.into(), verdict: Verdict::Ok, found: found.into(), hint: None }
    }

    /// A check that found something to improve.
    pub fn warn(name: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Check { name: name.into(), verdict: Verdict::Warn, found: found.into(), hint: Some(hint.into()) }
    }

    /// A check that failed.
    pub fn fail(name: &str, found: impl Into<String>, hint: impl Into<String>) -> Self {
        Check { name: name.into(), verdict: Verdict::Fail, found: found.into(), hint: Some(hint.into()) }
    }
}

/// Examines the machine.
///
/// # Errors
/// If the result cannot be printed, or, in a rank that the doctor has started, if MPI fails.
pub fn run(args: &Args) -> Result<ExitCode> {
    if args.probe {
        return messages::probe();
    }
    let terminal = Terminal::stdout();
    let mut all = Vec::new();
    // Each look is told when it is done: some take seconds.
    let ranks = args.ranks as usize;
    let looks: [&dyn Fn() -> Vec<Check>; 4] =
        [&machine::look, &|| storage::look(&args.dir), &|| messages::look(&args.launcher, ranks), &|| {
            batch::look(&args.dir, ranks)
        }];
    for look in looks {
        let checks = look();
        if !args.json {
            show::data(&checks.iter().map(|check| line(check, &terminal)).collect::<String>())?;
        }
        all.extend(checks);
    }
    if args.json {
        show::json(&all)?;
    }
    let sound = all.iter().all(|check| check.verdict != Verdict::Fail);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn line(check: &Check, terminal: &Terminal) -> String {
    let (word, tone) = match check.verdict {
        Verdict::Ok => ("ok  ", Tone::Good),
        Verdict::Warn => ("warn", Tone::Doubtful),
        Verdict::Fail => ("FAIL", Tone::Bad),
    };
    let hint = check.hint.as_ref().map_or(String::new(), |hint| format!("{:22}hint: {hint}\n", ""));
    format!("{}  {:14}  {}\n{hint}", terminal.paint(tone, word), check.name, check.found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Palette;

    #[test]
    fn a_failure_says_what_to_do() {
        let plain = Terminal { interactive: false, columns: 80, lines: 24, palette: Palette::Plain };
        let check = Check::fail("HDF5", "1.8.16", "install HDF5 1.10.5 or newer");
        assert_eq!(
            line(&check, &plain),
            "FAIL  HDF5            1.8.16\n                      hint: install HDF5 1.10.5 or newer\n"
        );
    }
}
