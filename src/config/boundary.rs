//! How the case file writes what lies beyond the domain's faces.

use toml::{Table as TomlTable, Value as Toml};

use super::explain::suggest;
use super::keys::{Table, Value};
use crate::error::Result;
use crate::field::{Component, ScalarKind};
use crate::grid::Boundary;

/// The names of the axes, as keys of `[boundary]`.
pub(super) const AXES: [&str; 3] = ["x", "y", "z"];

/// Reads which axes are periodic, and the boundaries of the others, from the table `[boundary]`.
pub(super) fn read_boundaries(
    table: &Table<'_>,
    axes: usize,
    components: &[Component],
    kind: ScalarKind,
) -> Result<(Vec<bool>, Vec<[Boundary; 2]>)> {
    if let Some(value) = AXES[axes..].iter().find_map(|axis| table.get(axis)) {
        return Err(value.wrong(&format!("has no axis to be for: grid.cells has {axes}")));
    }
    let reader = Reader { components, kind };
    let axis = |axis: &&str| match table.get(axis) {
        Some(value) if !value.is("periodic") => Ok((false, reader.axis(&value)?)),
        _ => Ok((true, [Boundary::Outflow, Boundary::Outflow])),
    };
    Ok(AXES[..axes].iter().map(axis).collect::<Result<Vec<_>>>()?.into_iter().unzip())
}

struct Reader<'c> {
    components: &'c [Component],
    kind: ScalarKind,
}

impl Reader<'_> {
    /// Both faces of an axis: one boundary for both, or a table with `low` and `high`.
    fn axis(&self, value: &Value<'_>) -> Result<[Boundary; 2]> {
        if value.is_table() {
            let table = value.table(&["low", "high", "fixed_value", "fixed_gradient"])?;
            if table.has("low") || table.has("high") {
                let table = value.table(&["low", "high"])?;
                let face = |key| self.face(&table.need(key, "both faces of an axis need a boundary")?);
                return Ok([face("low")?, face("high")?]);
            }
        }
        let face = self.face(value)?;
        Ok([face.clone(), face])
    }

    fn face(&self, value: &Value<'_>) -> Result<Boundary> {
        if !value.is_table() {
            if value.is("periodic") {
                return Err(value.wrong("joins both faces of an axis; it cannot be for one of them"));
            }
            let word = value.typed.get_ref().as_str().unwrap_or_default();
            let words = ["outflow", "reflecting", "periodic"];
            let rule =
                format!("is not a boundary; one of {}, or a table as in {{ fixed_value = 1.0 }}", words.join(", "));
            return match word {
                "outflow" => Ok(Boundary::Outflow),
                "reflecting" => Ok(Boundary::Reflecting),
                _ => Err(suggest(value.wrong(&rule), word, &words)),
            };
        }
        let (key, given) =
            value.table(&["fixed_value", "fixed_gradient"])?.need_one(&["fixed_value", "fixed_gradient"])?;
        if key == "fixed_value" {
            return Ok(Boundary::FixedValue(self.values(&given)?));
        }
        if self.kind.is_integer() {
            return Err(given.wrong(&format!("is a slope, which cells of type {} cannot follow", self.kind.name())));
        }
        Ok(Boundary::FixedGradient(self.values(&given)?))
    }

    /// One number for all components, or a table with a number for each.
    fn values(&self, value: &Value<'_>) -> Result<Vec<f64>> {
        if !value.is_table() {
            return Ok(vec![self.number(value)?; self.components.len()]);
        }
        let names: Vec<&str> = self.components.iter().map(|component| component.name.as_str()).collect();
        let table = value.table(&names)?;
        let number = |name: &&str| self.number(&table.need(name, "every component needs a number")?);
        names.iter().map(number).collect()
    }

    /// A number that a cell can hold.
    fn number(&self, value: &Value<'_>) -> Result<f64> {
        let number = value.number()?;
        let (least, most) = match self.kind {
            ScalarKind::U8 => (0.0, 255.0),
            ScalarKind::I32 => (f64::from(i32::MIN), f64::from(i32::MAX)),
            ScalarKind::I64 => (-(2f64.powi(53)), 2f64.powi(53)),
            ScalarKind::F32 => (f64::from(f32::MIN), f64::from(f32::MAX)),
            ScalarKind::F64 => (f64::MIN, f64::MAX),
        };
        if !(least..=most).contains(&number) || (self.kind.is_integer() && number.fract() != 0.0) {
            let range = match self.kind.is_integer() {
                true => format!("whole number from {least} to {most}"),
                false => format!("number from {least:e} to {most:e}"),
            };
            let kind = self.kind.name();
            return Err(value.wrong(&format!("does not fit into cells of type {kind}; it must be a {range}")));
        }
        Ok(number)
    }
}

/// The table `[boundary]` with every face written out.
pub(super) fn write_boundaries(periodic: &[bool], boundaries: &[[Boundary; 2]], components: &[String]) -> TomlTable {
    let values = |key: &str, values: &[f64]| -> Toml {
        let entries = components.iter().cloned().zip(values.iter().copied().map(Toml::from));
        TomlTable::from_iter([(key.to_owned(), TomlTable::from_iter(entries).into())]).into()
    };
    let face = |boundary: &Boundary| match boundary {
        Boundary::FixedValue(given) => values("fixed_value", given),
        Boundary::FixedGradient(given) => values("fixed_gradient", given),
        Boundary::Outflow => "outflow".into(),
        Boundary::Reflecting => "reflecting".into(),
    };
    let axis = |(a, [low, high]): (usize, &[Boundary; 2])| {
        let both = [("low".to_owned(), face(low)), ("high".to_owned(), face(high))];
        let value = if periodic[a] { "periodic".into() } else { TomlTable::from_iter(both).into() };
        (AXES[a].to_owned(), value)
    };
    boundaries.iter().enumerate().map(axis).collect()
}
