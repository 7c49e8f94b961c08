//! As written → as checked: reads every key once, holds it against its rule, and fills in the defaults.

use serde::de::DeserializeOwned;

use super::boundary::{AXES, read_boundaries};
use super::case::{Case, Exchange, InitialFile, Integrator, Output, Recovery, Run, StepSize, Thing, Time};
use super::guard::{GUARD_KEYS, check_guard};
use super::keys::{Document, Table, Value};
use super::local::LOCAL_KEYS;
use super::model::read_model;
use super::recovery::{check_checkpoint, check_recovery};
use super::schedule::Schedule;
use super::scheme::{SCHEME_KEYS, check_scheme};
use super::source::Source;
use crate::error::Result;
use crate::field::{Component, ScalarKind};

/// The keys of the case and of its tables; `[model]` has those of the model.
pub(super) const KEYS: [(&str, &[&str]); 12] = [
    (
        "",
        &[
            "title",
            "grid",
            "boundary",
            "model",
            "scheme",
            "initial",
            "time",
            "output",
            "checkpoint",
            "run",
            "guard",
            "recovery",
        ],
    ),
    ("grid", &["cells", "lower", "upper", "block"]),
    ("boundary", &AXES),
    ("initial", &["file", "dataset", "interpolation", "component", "scale", "offset"]),
    ("scheme", &SCHEME_KEYS),
    ("time", &["end", "cfl", "step", "integrator", "max_steps"]),
    ("output", &["what", "fields", "every"]),
    ("checkpoint", &["every", "interval", "keep", "verify", "local"]),
    ("checkpoint.local", &LOCAL_KEYS),
    ("run", &["threads", "sweeps_per_exchange", "exchange"]),
    ("recovery", &["hang_after", "failures_without_progress", "fewest_ranks", "stop_signals"]),
    ("guard", &GUARD_KEYS),
];

/// The most cells of a grid, so that cells and bytes can be counted in 64 bits.
const MOST_CELLS: u64 = 1 << 48;

/// The most threads of a rank; more is a slip of the pen.
const MOST_THREADS: u64 = 4096;

/// The most sweeps between two exchanges; with more, the ghosts outweigh any block.
const MOST_SWEEPS: u64 = 256;

fn keys_of(table: &str) -> &'static [&'static str] {
    KEYS.iter().find(|(name, _)| *name == table).map_or(&[], |(_, keys)| keys)
}

fn section<'d>(root: &Table<'d>, name: &str) -> Result<Table<'d>> {
    root.table(name, keys_of(name))
}

/// What a case is for: it decides which keys there are, and what their values may be.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// How the program goes on.
    pub family: Family,
    /// The components of its record.
    pub components: &'a [Component],
    /// What outputs can have besides.
    pub derived: &'a [Component],
    /// The type of its numbers.
    pub kind: ScalarKind,
}

/// How a program goes on in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// A state and its rate of change, taken on by an integrator.
    Model,
    /// A conservation law and its scheme, taken on by an integrator; only one with a contact wave can have HLLC.
    Law {
        /// Whether it has a contact wave.
        has_contact: bool,
    },
    /// Steps of its own.
    Program {
        /// Whether their number means anything; else they follow the clock on the wall.
        counts_steps: bool,
    },
}

impl<'a> Subject<'a> {
    /// A model whose record has these components, of this type of number.
    pub fn model(components: &'a [Component], kind: ScalarKind) -> Self {
        Subject { family: Family::Model, components, derived: &[], kind }
    }
}

/// Checks a case for a program.
///
/// `M` is what the table `[model]` is read as: give it `#[serde(deny_unknown_fields)]`, so that a misspelt key is an error,
/// and no `#[serde(flatten)]` nor untagged enums, which hide lines from errors. Without any keys it may be a unit struct.
///
/// # Errors
/// The first thing that is wrong with the case, with its line, key, value, and the rule that it breaks.
///
/// # Example
/// ```
/// use steadfast::config::{Source, Subject, check};
/// use steadfast::field::{Record, ScalarKind};
///
/// #[derive(serde::Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Heat {
///     diffusivity: f64,
/// }
///
/// let text = "grid.cells = [64]\nmodel.diffusivity = 0.5\ntime = { end = 1.0, cfl = 0.4 }";
/// let source = Source::from_text("heat.toml", text)?;
/// let components = f64::components();
/// let subject = Subject::model(&components, ScalarKind::F64);
/// let (case, heat) = check::<Heat>(&source, &subject)?;
/// assert_eq!((case.cells, heat.diffusivity), (vec![64], 0.5));
///
/// let wrong = source.set(&["time.cfl=-1"])?;
/// let error = check::<Heat>(&wrong, &subject).map(|_| ()).unwrap_err();
/// assert_eq!(error.message(), "--set time.cfl=-1: time.cfl = -1 must be above 0");
/// # Ok::<(), steadfast::Error>(())
/// ```
pub fn check<M: DeserializeOwned>(source: &Source, subject: &Subject<'_>) -> Result<(Case, M)> {
    let Subject { family, components, derived, kind } = *subject;
    let document = Document::parse(source)?;
    let root = document.root(keys_of(""))?;
    let title = root.get("title").map_or(Ok(""), |title| title.text())?.to_owned();
    let grid = section(&root, "grid")?;
    let cells = check_cells(&grid)?;
    let (lower, upper) = check_corners(&grid, &cells)?;
    let block = grid.get("block").map(|block| per_axis(&block, cells.len(), whole_extent)).transpose()?;
    let (periodic, boundaries) = read_boundaries(&section(&root, "boundary")?, cells.len(), components, kind)?;
    let (model, parameters) = read_model(source, root.get("model"))?;
    let initial = root.has("initial").then(|| check_initial(&section(&root, "initial")?, components)).transpose()?;
    let scheme = match (family, root.get("scheme")) {
        (Family::Law { has_contact }, _) => Some(check_scheme(&section(&root, "scheme")?, has_contact)?),
        (_, Some(value)) => {
            return Err(value.wrong("is of no use: this program is no conservation law").hint("leave [scheme] out"));
        }
        (_, None) => None,
    };
    let rules = TimeRules { family, kind };
    let case = Case {
        name: source.name(),
        title,
        components: components.iter().chain(derived).map(|component| component.name.clone()).collect(),
        cells,
        lower,
        upper,
        periodic,
        block,
        boundaries,
        initial,
        model,
        scheme,
        time: check_time(&section(&root, "time")?, &rules)?,
        outputs: check_outputs(&root, &[components, derived].concat(), components.len(), &rules)?,
        checkpoint: check_checkpoint(&section(&root, "checkpoint")?, |every| rules.schedule(every))?,
        run: check_run(&section(&root, "run")?, family)?,
        guard: check_guard(&section(&root, "guard")?)?,
        recovery: check_recovery(&section(&root, "recovery")?)?,
    };
    Ok((case, parameters))
}

impl Source {
    /// The number of axes of the case's grid: 1, 2 or 3.
    ///
    /// # Errors
    /// If the case is not TOML, or `grid.cells` is not there or no list of one to three numbers of cells.
    pub fn dimension(&self) -> Result<usize> {
        let document = Document::parse(self)?;
        Ok(check_cells(&section(&document.root(keys_of(""))?, "grid")?)?.len())
    }
}

impl Source {
    /// What the case says about recovery, for the supervisor, which knows no model.
    ///
    /// # Errors
    /// If the case is not TOML, or its `[recovery]` is wrong.
    pub fn recovery(&self) -> Result<Recovery> {
        let document = Document::parse(self)?;
        check_recovery(&section(&document.root(keys_of(""))?, "recovery")?)
    }
}

fn check_cells(grid: &Table<'_>) -> Result<Vec<usize>> {
    let value = grid.need("cells", "the number of cells along each axis, as in cells = [64, 64]")?;
    if !value.is_list() {
        let rule = "must be a list with one number for each axis, since its length is the dimension";
        return Err(value.wrong(rule).hint("as in cells = [64], [64, 64] or [64, 64, 64]"));
    }
    let entries = value.list()?;
    if !(1..=3).contains(&entries.len()) {
        return Err(value.wrong(&format!("has {} entries; a grid has 1, 2 or 3 axes", entries.len())));
    }
    let cells = entries.iter().map(whole_extent).collect::<Result<Vec<_>>>()?;
    let total = cells.iter().try_fold(1u64, |product, &n| product.checked_mul(n as u64));
    if total.is_none_or(|total| total > MOST_CELLS) {
        return Err(value.wrong("are more than 2^48 cells in all").hint("use fewer cells"));
    }
    Ok(cells)
}

fn check_corners(grid: &Table<'_>, cells: &[usize]) -> Result<(Vec<f64>, Vec<f64>)> {
    let (lower, upper) = (grid.get("lower"), grid.get("upper"));
    let corner = |value: &Option<Value<'_>>, default: f64| match value {
        Some(value) => per_axis(value, cells.len(), |value| value.number()),
        None => Ok(vec![default; cells.len()]),
    };
    let (from, to) = (corner(&lower, 0.0)?, corner(&upper, 1.0)?);
    for a in 0..cells.len() {
        let spacing = (to[a] - from[a]) / cells[a] as f64;
        let (axis, from, to) = (AXES[a], from[a], to[a]);
        let rule = if from >= to {
            format!("leaves no room along {axis}, from {from} to {to}; grid.lower must be below grid.upper")
        } else if !spacing.is_finite() || from + spacing == from || to - spacing == to {
            format!("makes cells of {spacing:e} along {axis}, from {from} to {to}, which 64 bits do not resolve")
        } else {
            continue;
        };
        return Err(upper.as_ref().or(lower.as_ref()).map_or_else(|| grid.wrong(&rule), |value| value.wrong(&rule)));
    }
    Ok((from, to))
}

/// A number of cells along one axis.
fn whole_extent(value: &Value<'_>) -> Result<usize> {
    Ok(value.whole(1)? as usize)
}

/// A list with one entry for each axis, or one value for all of them.
fn per_axis<T: Copy>(value: &Value<'_>, axes: usize, read: impl Fn(&Value<'_>) -> Result<T>) -> Result<Vec<T>> {
    if !value.is_list() {
        return Ok(vec![read(value)?; axes]);
    }
    let entries = value.list()?;
    if entries.len() != axes {
        let (has, needs) = (entries.len(), axes);
        let entries = if has == 1 { "entry" } else { "entries" };
        return Err(value.wrong(&format!("has {has} {entries}, but grid.cells has {needs}; they must agree")));
    }
    entries.iter().map(read).collect()
}

fn check_initial(initial: &Table<'_>, components: &[Component]) -> Result<InitialFile> {
    let file = initial.need("file", "the HDF5 file to start from")?;
    let dataset = initial.need("dataset", "the path of the data set in the file")?;
    for value in [&file, &dataset] {
        if value.text()?.trim().is_empty() {
            return Err(value.wrong("is empty"));
        }
    }
    let number = |key, default| initial.get(key).map_or(Ok(default), |value| value.number());
    Ok(InitialFile {
        file: file.text()?.into(),
        dataset: dataset.text()?.to_owned(),
        interpolation: initial.need("interpolation", "how the data are resampled: nearest or linear")?.word()?,
        component: initial.get("component").map_or(Ok(0), |value| component(&value, components))?,
        scale: number("scale", 1.0)?,
        offset: number("offset", 0.0)?,
    })
}

/// The number of the component that a value names.
fn component(value: &Value<'_>, components: &[Component]) -> Result<usize> {
    let names: Vec<&str> = components.iter().map(|component| component.name.as_str()).collect();
    value.among(&names, "a component of the model")
}

/// What the type of number asks of time: integers compute exactly only if they go on by whole steps.
struct TimeRules {
    family: Family,
    kind: ScalarKind,
}

impl TimeRules {
    fn why(&self) -> String {
        format!("cells of type {} go on by whole steps", self.kind.name())
    }

    /// Refuses a number of steps, or a time in steps, for a program whose steps follow the clock on the wall.
    fn hold_by_wall(&self, value: &Value<'_>) -> Result<()> {
        match self.family {
            Family::Program { counts_steps: false } => Err(value
                .wrong("counts steps, but those of this program only follow the clock on the wall")
                .hint("leave it out: the program ends by itself; schedules may be { wall = … } or \"never\"")),
            _ => Ok(()),
        }
    }

    /// A time that must be whole if the numbers are.
    fn hold(&self, value: &Value<'_>, time: f64) -> Result<f64> {
        if self.family == Family::Model && self.kind.is_integer() && time.fract() != 0.0 {
            return Err(value.wrong(&format!("is not whole, but {}", self.why())));
        }
        Ok(time)
    }

    /// A schedule; exact times must be whole if the numbers are.
    fn schedule(&self, value: &Value<'_>) -> Result<Schedule> {
        let schedule = Schedule::read(value)?;
        if matches!(schedule, Schedule::Steps(_) | Schedule::Time { .. }) {
            self.hold_by_wall(value)?;
        }
        if let Schedule::Time { interval, exact: true } = schedule {
            self.hold(value, interval)?;
        }
        Ok(schedule)
    }
}

fn check_time(time: &Table<'_>, rules: &TimeRules) -> Result<Time> {
    for value in ["end", "step", "max_steps"].into_iter().filter_map(|key| time.get(key)) {
        rules.hold_by_wall(&value)?;
    }
    let end = match (time.get("end"), rules.family) {
        // Such a program knows by itself when it is done.
        (None, Family::Program { .. }) => f64::INFINITY,
        _ => check_end(time, rules)?,
    };
    Ok(Time {
        end,
        steps: time.get("max_steps").map(|value| value.whole(0)).transpose()?,
        step: check_step(time, rules)?,
        integrator: check_integrator(time, rules)?,
    })
}

fn check_end(time: &Table<'_>, rules: &TimeRules) -> Result<f64> {
    let value = time.need("end", "the time at which the run ends")?;
    let end = rules.hold(&value, value.number()?)?;
    if end < 0.0 {
        return Err(value.wrong("is before the start, which is at 0; it must be 0 or later"));
    }
    Ok(end)
}

fn check_step(time: &Table<'_>, rules: &TimeRules) -> Result<StepSize> {
    if matches!(rules.family, Family::Program { .. }) {
        if let Some(value) = time.get("cfl") {
            return Err(value
                .wrong("asks for a part of a timescale, but this program has none")
                .hint("give time.step"));
        }
        return Ok(StepSize::Fixed(time.get("step").map_or(Ok(1.0), |value| value.positive())?));
    }
    if rules.kind.is_integer() && !time.has("cfl") && !time.has("step") {
        return Ok(StepSize::Fixed(1.0));
    }
    let (key, value) = time.need_one(&["cfl", "step"]).map_err(|error| match time.has("cfl") {
        true => error,
        false => error.hint("as in cfl = 0.4, a part of the model's shortest timescale, or step = 1e-3"),
    })?;
    let number = value.positive()?;
    match (key, rules.kind.is_integer()) {
        ("cfl", true) => {
            Err(value.wrong(&format!("asks for steps of any length, but {}", rules.why())).hint("use step = 1"))
        }
        ("step", true) if number != 1.0 => {
            Err(value.wrong(&format!("must be 1: {}", rules.why())).hint("use step = 1"))
        }
        ("cfl", _) => Ok(StepSize::Cfl(number)),
        (_, _) => Ok(StepSize::Fixed(number)),
    }
}

fn check_integrator(time: &Table<'_>, rules: &TimeRules) -> Result<Option<Integrator>> {
    let default = if rules.kind.is_integer() { Integrator::ForwardEuler } else { Integrator::SspRk2 };
    let given = time.get("integrator");
    if matches!(rules.family, Family::Program { .. }) {
        let useless = |value: Value<'_>| {
            value.wrong("is of no use: this program has steps of its own").hint("leave integrator out")
        };
        return given.map_or(Ok(None), |value| Err(useless(value)));
    }
    let Some(value) = given else { return Ok(Some(default)) };
    let integrator = value.word()?;
    if rules.kind.is_integer() && integrator != Integrator::ForwardEuler {
        let rule = format!("has stages between steps, but {}; it must be forward_euler", rules.why());
        return Err(value.wrong(&rule).hint("leave integrator out"));
    }
    Ok(Some(integrator))
}

/// `components` are those of the state, `states` in number, and then the derived ones.
fn check_outputs(root: &Table<'_>, components: &[Component], states: usize, rules: &TimeRules) -> Result<Vec<Output>> {
    let Some(outputs) = root.get("output") else { return Ok(Vec::new()) };
    if !outputs.is_list() {
        let rule = "must be a list of tables, each under a header [[output]]";
        return Err(outputs.wrong(rule).hint("write [[output]] with two brackets"));
    }
    let output = |value: &Value<'_>| {
        let output = value.table(keys_of("output"))?;
        let things = ["fields", "totals"];
        let what = output.need("what", "what is written: \"fields\" or \"totals\"")?.among(&things, "an output")?;
        let fields = output.get("fields");
        let thing = match (what, fields) {
            (0, None) => Thing::Fields { components: (0..states).collect() },
            (0, Some(fields)) => Thing::Fields { components: check_fields(&fields, components)? },
            (_, None) => Thing::Totals,
            (_, Some(fields)) => {
                return Err(fields.wrong("cannot go with what = \"totals\", which are of all components"));
            }
        };
        let every = output.need("every", "when it is due, as in every = { steps = 100 }")?;
        Ok(Output { thing, every: rules.schedule(&every)? })
    };
    outputs.list()?.iter().map(output).collect()
}

fn check_fields(fields: &Value<'_>, components: &[Component]) -> Result<Vec<usize>> {
    let mut numbers = Vec::new();
    for field in fields.list()? {
        let number = component(&field, components)?;
        if numbers.contains(&number) {
            return Err(field.wrong("is there twice"));
        }
        numbers.push(number);
    }
    if numbers.is_empty() { Err(fields.wrong("is empty; leave it out for all components")) } else { Ok(numbers) }
}

fn check_run(run: &Table<'_>, family: Family) -> Result<Run> {
    let count = |key, most| {
        run.get(key).map_or(Ok(1), |value| match value.whole(1)? {
            count if count > most => Err(value.wrong(&format!("is too many; the most is {most}"))),
            count => Ok(count as usize),
        })
    };
    let sweeps_per_exchange = count("sweeps_per_exchange", MOST_SWEEPS)?;
    if let (Family::Program { .. }, 2.., Some(value)) = (family, sweeps_per_exchange, run.get("sweeps_per_exchange")) {
        return Err(value.wrong("is of no use: this program has steps of its own").hint("leave it out"));
    }
    Ok(Run {
        threads: count("threads", MOST_THREADS)?,
        sweeps_per_exchange,
        exchange: run.get("exchange").map_or(Ok(Exchange::SharedMemory), |value| value.word())?,
    })
}
