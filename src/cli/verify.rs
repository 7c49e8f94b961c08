//! `steadfast verify`: whether checkpoints are sound.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use super::show;
use super::terminal::{Terminal, Tone};
use crate::checkpoint::{Fault, Reader};
use crate::error::Result;

/// Check every block of checkpoints, and name what is damaged.
///
/// Exit code 0 if all files are sound, 1 if any is not. Example: `steadfast verify heat.run/checkpoints/*.h5`
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The checkpoints.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,

    /// Print JSON for programs.
    #[arg(long)]
    pub json: bool,
}

/// What was found about one file.
#[derive(Debug, Serialize)]
struct Verdict {
    file: PathBuf,
    sound: bool,
    /// The step, unless the file cannot be opened.
    step: Option<u64>,
    /// How many blocks were compared with their checksums, each component counted.
    blocks: usize,
    bytes: u64,
    /// Why the file as a whole is no good.
    error: Option<String>,
    damaged: Vec<Damage>,
}

/// A damaged block.
#[derive(Debug, Serialize)]
struct Damage {
    field: String,
    block: usize,
    /// Its cells along x, y, z: first and one past the last.
    cells: Vec<[usize; 2]>,
    message: String,
}

/// Verifies checkpoints.
///
/// # Errors
/// If the verdicts cannot be printed; a bad file is a verdict and no error.
pub fn run(args: &Args) -> Result<ExitCode> {
    let terminal = Terminal::stdout();
    let mut verdicts = Vec::new();
    for file in &args.files {
        let verdict = judge(file);
        if !args.json {
            // Large files take a while: each verdict is told when it is known.
            show::data(&verdict.text(&terminal))?;
        }
        verdicts.push(verdict);
    }
    if args.json {
        show::json(&verdicts)?;
    }
    let sound = verdicts.iter().all(|verdict| verdict.sound);
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn judge(file: &Path) -> Verdict {
    let nothing = Verdict {
        file: file.to_owned(),
        sound: false,
        step: None,
        blocks: 0,
        bytes: 0,
        error: None,
        damaged: Vec::new(),
    };
    let reader = match Reader::open(file) {
        Ok(reader) => reader,
        Err(error) => return Verdict { error: Some(error.message().to_owned()), ..nothing },
    };
    let known = Verdict { step: Some(reader.header().step), bytes: reader.file_bytes(), ..nothing };
    match reader.verify() {
        Ok(report) => Verdict {
            sound: report.faults.is_empty(),
            blocks: report.blocks,
            damaged: report.faults.iter().map(damage).collect(),
            ..known
        },
        Err(error) => Verdict { error: Some(error.message().to_owned()), ..known },
    }
}

fn damage(fault: &Fault) -> Damage {
    Damage {
        field: fault.field.clone(),
        block: fault.block,
        cells: fault.cells.iter().map(|range| [range.start, range.end]).collect(),
        message: fault.error.message().to_owned(),
    }
}

impl Verdict {
    /// A line for the file, and one more for each damaged block.
    fn text(&self, terminal: &Terminal) -> String {
        let file = self.file.display();
        let step = self.step.map_or(String::new(), |step| format!("step {}, ", show::count(step)));
        if self.sound {
            let good = terminal.paint(Tone::Good, "sound");
            let blocks = show::count(self.blocks as u64);
            return format!("{good}    {file}: {step}{blocks} blocks, {}\n", show::bytes(self.bytes));
        }
        let bad = terminal.paint(Tone::Bad, "damaged");
        let mut text = match &self.error {
            Some(error) => format!("{bad}  {file}: {step}{error}\n"),
            None => format!("{bad}  {file}: {step}{} of {} blocks\n", self.damaged.len(), self.blocks),
        };
        for damage in &self.damaged {
            let cells = super::plot::AXES.iter().zip(&damage.cells);
            let cells: Vec<_> = cells.map(|(axis, [first, past])| format!("{axis} {first}..{past}")).collect();
            let Damage { field, block, message, .. } = damage;
            text += &format!("         field {field}, block {block}, cells {}: {message}\n", cells.join(", "));
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::sample::checkpoint;
    use crate::cli::terminal::Palette;

    const PLAIN: Terminal = Terminal { interactive: false, columns: 80, lines: 24, palette: Palette::Plain };

    #[test]
    fn a_sound_file_gets_one_line() {
        let room = tempfile::tempdir().unwrap();
        let verdict = judge(&checkpoint(room.path(), "a", &[5, 4]));
        assert!(verdict.sound);
        assert_eq!(verdict.text(&PLAIN).lines().count(), 1);
        assert!(verdict.text(&PLAIN).contains("step 42, 6 blocks"));
    }

    #[test]
    fn a_damaged_block_is_named_with_its_field_and_cells() {
        let room = tempfile::tempdir().unwrap();
        let path = checkpoint(room.path(), "a", &[5, 4]);
        let mut bytes = std::fs::read(&path).unwrap();
        // The only 23 is in the block of the cells x 2..4, y 2..4.
        let needle = 23f64.to_le_bytes();
        let at = bytes.windows(8).position(|window| window == needle).unwrap();
        bytes[at + 3] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let verdict = judge(&path);
        assert!(!verdict.sound);
        let text = verdict.text(&PLAIN);
        assert!(text.contains("1 of 6 blocks") && text.contains("field u, block 4, cells x 2..4, y 2..4"), "{text}");
    }

    #[test]
    fn a_file_that_is_no_checkpoint_is_a_verdict_and_no_error() {
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("a.h5");
        for content in ["", "no HDF5"] {
            std::fs::write(&path, content).unwrap();
            let verdict = judge(&path);
            assert!(!verdict.sound && verdict.error.is_some());
        }
        assert!(judge(&room.path().join("absent.h5")).error.is_some());
    }
}
