//! The command line: one file a command, and the only room that prints.
//!
//! Data goes to stdout, everything else to stderr; `--json` is for programs. Nothing needs colour to be read, and
//! NO_COLOR is respected. Exit codes: 0 finished, 1 failed, 2 bad command or case, 75 interrupted and resumable.
//!
//! A command's file has its arguments (`Args`), which double as its help, and a function `run`. Read [`launch`] next, or
//! whatever command you came for; [`show`] says how numbers and tables look.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::error::{Error, Result};

mod command;
pub mod converge;
pub mod diff;
pub mod doctor;
mod draft;
mod forecast;
pub mod inspect;
mod job;
pub mod launch;
pub mod list;
mod monitor;
pub mod plan;
pub mod plot;
pub mod program;
pub mod progress;
pub mod prune;
pub mod run;
#[cfg(test)]
mod sample;
pub mod sentry;
mod shape;
pub mod show;
pub mod status;
pub mod stop;
pub mod submit;
pub mod terminal;
pub mod times;
pub mod verify;

/// Runs simulations through failures, and looks at what they leave.
#[derive(Debug, Parser)]
#[command(name = "steadfast", version, propagate_version = true, arg_required_else_help = true, max_term_width = 80)]
struct Tool {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Launch(launch::Args),
    Submit(submit::Args),
    Status(status::Args),
    Stop(stop::Args),
    List(list::Args),
    Inspect(inspect::Args),
    Verify(verify::Args),
    Diff(diff::Args),
    Plot(plot::Args),
    Converge(converge::Args),
    Prune(prune::Args),
    Doctor(doctor::Args),
    #[command(hide = true)]
    Sentry(sentry::Args),
}

impl Command {
    fn run(&self) -> Result<ExitCode> {
        match self {
            Command::Launch(args) => launch::run(args),
            Command::Submit(args) => submit::run(args),
            Command::Status(args) => status::run(args),
            Command::Stop(args) => stop::run(args),
            Command::List(args) => list::run(args),
            Command::Inspect(args) => inspect::run(args),
            Command::Verify(args) => verify::run(args),
            Command::Diff(args) => diff::run(args),
            Command::Plot(args) => plot::run(args),
            Command::Converge(args) => converge::run(args),
            Command::Prune(args) => prune::run(args),
            Command::Doctor(args) => doctor::run(args),
            Command::Sentry(args) => sentry::run(args),
        }
    }
}

/// The tool `steadfast`: parses its command line, runs the command, and gives the exit code.
pub fn main() -> ExitCode {
    let tool = Tool::parse();
    start_log();
    tool.command.run().unwrap_or_else(|error| report(&error))
}

/// Sends warnings to stderr, and more if RUST_LOG asks for it.
pub fn start_log() {
    let wish = env_logger::Env::default().default_filter_or("warn");
    // A program that has set up its own log before keeps it.
    let _ = env_logger::Builder::from_env(wish).format_timestamp(None).format_target(false).try_init();
}

/// Prints an error as every command does, and gives the exit code that belongs to it.
pub fn report(error: &Error) -> ExitCode {
    // The code tells it too, if nobody listens.
    let _ = writeln!(std::io::stderr(), "error: {error}");
    ExitCode::from(error.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Tool::command().debug_assert();
    }
}
