//! The command line of every model program: `run` and `plan`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use serde::de::DeserializeOwned;

use super::{plan, run};
use crate::config::{self, Case, Family, Source, Subject};
use crate::error::{Error, Result};
use crate::field::Record;
use crate::scheme::ConservationLaw;
use crate::sim::{Evolution, FiniteVolume, Model, Pointwise, Program};

/// A simulation: runs a case, or plans it.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true, arg_required_else_help = true)]
struct CommandLine {
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
    in_any_dimension(evolve::<M, 1>, evolve::<M, 2>, evolve::<M, 3>)
}

/// The command line of a model that works in `N` dimensions only; a case with another grid is refused.
pub fn main_in<M: Model<N>, const N: usize>() -> ExitCode {
    in_one_dimension(evolve::<M, N>)
}

/// The command line of a conservation law that works in one, two and three dimensions; the case file's grid chooses.
pub fn main_law<L: ConservationLaw<1> + ConservationLaw<2> + ConservationLaw<3>>() -> ExitCode {
    in_any_dimension(conserve::<L, 1>, conserve::<L, 2>, conserve::<L, 3>)
}

/// The command line of a conservation law that works in `N` dimensions only; a case with another grid is refused.
pub fn main_law_in<L: ConservationLaw<N>, const N: usize>() -> ExitCode {
    in_one_dimension(conserve::<L, N>)
}

/// The command line of a program with steps of its own, on a grid of `N` dimensions.
///
/// ```no_run
/// # use steadfast::prelude::*;
/// # #[derive(Deserialize)]
/// # struct KMeans {}
/// # impl Program<1> for KMeans {
/// #     type State = i32;
/// #     type Shared = ();
/// #     fn begin(&mut self, _: &mut Domain<i32, 1>) -> Result<()> { Ok(()) }
/// #     fn step(&mut self, _: &mut Domain<i32, 1>, _: &mut (), _: &Step<'_>) -> Result<()> { Ok(()) }
/// # }
/// fn main() -> ExitCode {
///     steadfast::main_program::<KMeans, 1>()
/// }
/// ```
pub fn main_program<P: Program<N> + DeserializeOwned, const N: usize>() -> ExitCode {
    in_one_dimension(as_it_is::<P, N>)
}

/// Makes a program from its case.
pub(super) type Make<P> = fn(&Source) -> Result<(Case, P)>;

fn evolve<M: Model<N>, const N: usize>(source: &Source) -> Result<(Case, Evolution<Pointwise<M>, N>)> {
    let (case, model) = config::check::<M>(source, &Subject::model(&M::components(), M::State::kind()))?;
    let evolution = Evolution::new(Pointwise(model), &case);
    Ok((case, evolution))
}

fn conserve<L: ConservationLaw<N>, const N: usize>(source: &Source) -> Result<(Case, Evolution<FiniteVolume<L>, N>)> {
    let subject = Subject {
        family: Family::Law { has_contact: L::HAS_CONTACT },
        components: &L::components(),
        derived: &L::derived(),
        kind: L::State::kind(),
    };
    let (case, law) = config::check::<L>(source, &subject)?;
    let scheme = case.scheme.expect("a case for a law has a scheme");
    let evolution = Evolution::new(FiniteVolume::new(law, scheme, case.run.threads), &case);
    Ok((case, evolution))
}

fn as_it_is<P: Program<N> + DeserializeOwned, const N: usize>(source: &Source) -> Result<(Case, P)> {
    let subject = Subject {
        family: Family::Program { counts_steps: P::COUNTS_STEPS },
        components: &P::components(),
        derived: &P::derived(),
        kind: P::State::kind(),
    };
    config::check::<P>(source, &subject)
}

fn in_any_dimension(one: Make<impl Program<1>>, two: Make<impl Program<2>>, three: Make<impl Program<3>>) -> ExitCode {
    start(|command| match command {
        Command::Run(args) => run::run(args, |launch| match launch.source().dimension()? {
            1 => launch.simulate(one),
            2 => launch.simulate(two),
            _ => launch.simulate(three),
        }),
        Command::Plan(args) => {
            let source = args.source()?;
            match source.dimension()? {
                1 => plan::run(args, &source, one),
                2 => plan::run(args, &source, two),
                _ => plan::run(args, &source, three),
            }
        }
    })
}

fn in_one_dimension<const N: usize>(make: Make<impl Program<N>>) -> ExitCode {
    let check = |source: &Source| match source.dimension()? {
        dimension if dimension == N => Ok(()),
        dimension => Err(Error::case(format!(
            "{}: grid.cells has {dimension} entries; this program needs {N}",
            source.path().display()
        ))),
    };
    start(|command| match command {
        Command::Run(args) => run::run(args, |launch| check(launch.source()).and_then(|()| launch.simulate(make))),
        Command::Plan(args) => {
            let source = args.source()?;
            check(&source)?;
            plan::run(args, &source, make)
        }
    })
}

fn start(run: impl FnOnce(&Command) -> Result<ExitCode>) -> ExitCode {
    super::start_log();
    match CommandLine::try_parse() {
        Ok(line) => run(&line.command).unwrap_or_else(|error| super::report(&error)),
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
