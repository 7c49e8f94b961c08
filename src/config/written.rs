//! How a checked case is written again: whole, with every default filled in, or only what the bits depend on.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::boundary::write_boundaries;
use super::case::{Bounds, Case, StepSize, Thing};
use super::guard::write_guard;
use super::keys::Word;
use super::local::write_local;
use super::schedule::{Schedule, write_duration};
use super::scheme::write_scheme;

impl Case {
    /// The case as text, with every default filled in: reading it as a case file gives this case again.
    pub fn canonical(&self) -> String {
        let mut case = self.physical();
        case.insert("title".into(), self.title.clone().into());
        if let Some(block) = &self.block {
            entry(&mut case, "grid").insert("block".into(), counts(block));
        }
        let time = entry(&mut case, "time");
        time.remove(EXACT);
        if self.time.end.is_finite() {
            time.insert("end".into(), self.time.end.into());
        }
        time.extend(self.time.steps.map(|steps| ("max_steps".into(), Value::Integer(steps as i64))));
        let outputs = self.outputs.iter().map(|output| {
            let mut table = match &output.thing {
                Thing::Totals => Table::from_iter([("what".into(), "totals".into())]),
                Thing::Fields { components } => {
                    let names: Vec<Value> = components.iter().map(|&c| self.components[c].clone().into()).collect();
                    Table::from_iter([("what".into(), "fields".into()), ("fields".into(), names.into())])
                }
            };
            table.insert("every".into(), output.every.written());
            Value::Table(table)
        });
        case.insert("output".into(), Value::Array(outputs.collect()));
        let checkpoint = entry(&mut case, "checkpoint");
        match self.checkpoint.every {
            Some(every) => checkpoint.insert("every".into(), every.written()),
            None => {
                checkpoint.insert("every".into(), "auto".into());
                checkpoint.insert("interval".into(), write_bounds(self.checkpoint.interval))
            }
        };
        checkpoint.insert("keep".into(), count(self.checkpoint.keep));
        checkpoint.insert("verify".into(), self.checkpoint.verify.word().into());
        checkpoint.extend(self.checkpoint.local.as_ref().map(|local| ("local".into(), write_local(local).into())));
        let run = entry(&mut case, "run");
        run.insert("threads".into(), count(self.run.threads));
        run.insert("sweeps_per_exchange".into(), count(self.run.sweeps_per_exchange));
        run.insert("exchange".into(), self.run.exchange.word().into());
        case.insert("guard".into(), write_guard(&self.guard).into());
        let recovery = entry(&mut case, "recovery");
        recovery.insert("hang_after".into(), write_bounds(self.recovery.hang_after));
        let failures = Value::Integer(self.recovery.failures_without_progress.into());
        recovery.insert("failures_without_progress".into(), failures);
        recovery.extend(self.recovery.fewest_ranks.map(|ranks| ("fewest_ranks".into(), count(ranks))));
        let signals: Vec<Value> = self.recovery.stop_signals.iter().map(|signal| signal.word().into()).collect();
        recovery.insert("stop_signals".into(), signals.into());
        toml(&case)
    }

    /// The part of the case that determines the bits, as text: a restart must agree with it.
    ///
    /// It is the grid without its blocks, the boundaries, the initial data, the model, the step, the integrator, and the
    /// times at which steps must end. It leaves out the end of the run, so that a run can be prolonged; note that the last
    /// step before an end may be shorter than it would have been without.
    pub fn physics(&self) -> String {
        toml(&self.physical())
    }

    /// What differs between the physics of this case and another's, as [`physics`](Self::physics) wrote it; `None` if
    /// nothing does.
    pub fn physics_difference(&self, stored: &str) -> Option<String> {
        let Ok(stored) = stored.parse::<Table>() else { return Some("the stored physics is no TOML".into()) };
        let (mut here, mut there) = (BTreeMap::new(), BTreeMap::new());
        flatten("", &Value::Table(self.physical()), &mut here);
        flatten("", &Value::Table(stored), &mut there);
        let keys: std::collections::BTreeSet<&String> = here.keys().chain(there.keys()).collect();
        let show = |value: Option<&Value>| value.map_or("not there".into(), |value| value.to_string());
        let differing: Vec<String> = keys
            .into_iter()
            .map(|key| (key, here.get(key), there.get(key)))
            .filter(|(_, here, there)| !same(*here, *there))
            .map(|(key, here, there)| format!("{key} is {}, was {}", show(here), show(there)))
            .collect();
        (!differing.is_empty()).then(|| differing.join("; "))
    }

    fn physical(&self) -> Table {
        let mut case = Table::new();
        let grid = entry(&mut case, "grid");
        grid.insert("cells".into(), counts(&self.cells));
        grid.insert("lower".into(), self.lower.clone().into());
        grid.insert("upper".into(), self.upper.clone().into());
        case.insert("boundary".into(), write_boundaries(&self.periodic, &self.boundaries, &self.components).into());
        if !self.model.is_empty() {
            case.insert("model".into(), self.model.clone().into());
        }
        if let Some(scheme) = &self.scheme {
            case.insert("scheme".into(), write_scheme(scheme).into());
        }
        if let Some(initial) = &self.initial {
            let table = entry(&mut case, "initial");
            table.insert("file".into(), initial.file.to_string_lossy().into_owned().into());
            table.insert("dataset".into(), initial.dataset.clone().into());
            table.insert("interpolation".into(), initial.interpolation.word().into());
            table.insert("component".into(), self.components[initial.component].clone().into());
            table.insert("scale".into(), initial.scale.into());
            table.insert("offset".into(), initial.offset.into());
        }
        let exact = self.exact_times();
        let time = entry(&mut case, "time");
        let step = match self.time.step {
            // The default of a program with steps of its own, which may not mean anything there.
            StepSize::Fixed(1.0) if self.time.integrator.is_none() => None,
            StepSize::Fixed(step) => Some(("step".into(), step.into())),
            StepSize::Cfl(cfl) => Some(("cfl".into(), cfl.into())),
        };
        time.extend(step);
        time.extend(self.time.integrator.map(|integrator| ("integrator".into(), integrator.word().into())));
        time.insert(EXACT.into(), exact.into());
        case
    }

    /// The intervals at whose multiples steps must end: they shorten steps, and so change the bits.
    fn exact_times(&self) -> Vec<f64> {
        let schedules = self.outputs.iter().map(|output| output.every).chain(self.checkpoint.every);
        let exact = |schedule| match schedule {
            Schedule::Time { interval, exact: true } => Some(interval),
            _ => None,
        };
        let mut times: Vec<f64> = schedules.filter_map(exact).collect();
        times.sort_by(f64::total_cmp);
        times.dedup();
        times
    }
}

/// The key of the physics, and of no case file, for the times at which steps must end.
const EXACT: &str = "exact_every";

fn entry<'t>(case: &'t mut Table, name: &str) -> &'t mut Table {
    let entry = case.entry(name).or_insert_with(|| Table::new().into());
    entry.as_table_mut().expect("the sections of a case are tables")
}

fn write_bounds(bounds: Bounds) -> Value {
    let write = |duration| Value::from(write_duration(duration));
    Table::from_iter([("at_least".into(), write(bounds.at_least)), ("at_most".into(), write(bounds.at_most))]).into()
}

fn count(number: usize) -> Value {
    Value::Integer(number as i64)
}

fn counts(numbers: &[usize]) -> Value {
    Value::Array(numbers.iter().map(|&number| count(number)).collect())
}

fn toml(case: &Table) -> String {
    toml::to_string(case).expect("tables with text keys can always be written as TOML")
}

/// The leaves of a tree by their key paths; a list is a leaf.
fn flatten(path: &str, value: &Value, leaves: &mut BTreeMap<String, Value>) {
    let Value::Table(table) = value else {
        leaves.insert(path.to_owned(), value.clone());
        return;
    };
    for (key, inner) in table {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        flatten(&path, inner, leaves);
    }
}

/// Whether two values mean the same: `1` and `1.0` do.
fn same(here: Option<&Value>, there: Option<&Value>) -> bool {
    match (here, there) {
        (Some(Value::Integer(n)), Some(Value::Float(x))) | (Some(Value::Float(x)), Some(Value::Integer(n))) => {
            *n as f64 == *x
        }
        (Some(Value::Array(here)), Some(Value::Array(there))) => {
            here.len() == there.len() && here.iter().zip(there).all(|(a, b)| same(Some(a), Some(b)))
        }
        _ => here == there,
    }
}
