//! The command line of every model program: `run` and `plan`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use super::{plan, run};
use crate::config::Source;
use crate::error::{Error, Result};
use crate::sim::Model;

/// A simulation: runs a case, or plans it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(run::Args),
    Plan(plan::Args),
}

/// The command line of a model that works in one, two and three dimensions; the case file's grid chooses.
///
/// A model program is this one call:
///
/// ```no_run
/// # use steadfast::prelude::*;
/// # #[derive(Deserialize)]
/// # struct Heat {}
/// # impl<const N: usize> Model<N> for Heat {
/// #     type State = f64;
/// #     const REACH: usize = 1;
/// #     fn initial(&self, _: Vector<N>) -> f64 { 0.0 }
/// #     fn rate(&self, _: Stencil<'_, f64, N>, _: f64) -> f64 { 0.0 }
/// # }
/// fn main() -> ExitCode {
///     steadfast::main::<Heat>()
/// }
/// ```
pub fn main<M: Model<1> + Model<2> + Model<3>>() -> ExitCode {
    start(|command| match command {
        Command::Run(args) => run::run(args, |launch| match launch.source().dimension()? {
            1 => launch.simulate::<M, 1>(),
            2 => launch.simulate::<M, 2>(),
            _ => launch.simulate::<M, 3>(),
        }),
        Command::Plan(args) => {
            let source = args.source()?;
            match source.dimension()? {
                1 => plan::run::<M, 1>(args, &source),
                2 => plan::run::<M, 2>(args, &source),
                _ => plan::run::<M, 3>(args, &source),
            }
        }
    })
}

/// The command line of a model that works in `N` dimensions only; a case with another grid is refused.
pub fn main_in<M: Model<N>, const N: usize>() -> ExitCode {
    let check = |source: &Source| match source.dimension()? {
        dimension if dimension == N => Ok(()),
        dimension => Err(Error::case(format!(
            "{}: grid.cells has {dimension} entries; this program needs {N}",
            source.path().display()
        ))),
    };
    start(|command| match command {
        Command::Run(args) => run::run(args, |launch| check(launch.source()).and_then(|()| launch.simulate::<M, N>())),
        Command::Plan(args) => {
            let source = args.source()?;
            check(&source)?;
            plan::run::<M, N>(args, &source)
        }
    })
}

fn start(run: impl FnOnce(&Command) -> Result<ExitCode>) -> ExitCode {
    super::start_log();
    match Program::try_parse() {
        Ok(program) => run(&program.command).unwrap_or_else(|error| super::report(&error)),
        Err(refusal) => {
            run::with_one_voice(|| {
                // Nobody is left to tell, if this cannot be printed.
                let _ = refusal.print();
            });
            ExitCode::from(refusal.exit_code() as u8)
        }
    }
}

/// The name of the running program, without its directory.
pub(super) fn program_name() -> String {
    let path: OsString = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&path).file_stem().map_or_else(|| "unnamed".into(), |name| name.to_string_lossy().into_owned())
}
