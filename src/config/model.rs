//! How the model's own keys are read, and how its complaints become errors with line, key and value.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::value::UnitDeserializer;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::explain::{join, path_at, suggest};
use super::keys::{Value, unknown_key};
use super::source::Source;
use crate::error::{Error, Result};

/// Reads the table `[model]`: as it is written, and as the model wants it.
pub(super) fn read_model<M: DeserializeOwned>(source: &Source, written: Option<Value<'_>>) -> Result<(toml::Table, M)> {
    let typed = match &written {
        Some(value) if value.is_table() => value.typed.clone(),
        Some(value) => return Err(value.wrong("must be a table, under a header [model]")),
        None => Spanned::new(0..0, DeValue::Table(DeTable::new())),
    };
    if let Some(path) = not_finite(&typed, vec!["model".into()]) {
        return Err(source.fault(&path, "is not finite; it must be a finite number"));
    }
    let explained = |error: toml::de::Error| explain(source, &typed, written.is_some(), &error);
    let table = toml::Table::deserialize(ValueDeserializer::from(typed.clone())).map_err(explained)?;
    // A model without keys may well be a unit struct, which no table can become.
    if table.is_empty()
        && let Ok(model) = M::deserialize(UnitDeserializer::<serde::de::value::Error>::new())
    {
        return Ok((table, model));
    }
    let model = M::deserialize(ValueDeserializer::from(typed.clone())).map_err(explained)?;
    Ok((table, model))
}

/// The key path of a number that is not finite, if there is one.
fn not_finite(value: &Spanned<DeValue<'_>>, path: Vec<String>) -> Option<Vec<String>> {
    let deeper = |key: String, inner| not_finite(inner, [&path[..], &[key]].concat());
    match value.get_ref() {
        DeValue::Float(digits) => {
            let finite = digits.as_str().parse().is_ok_and(f64::is_finite);
            (!finite).then(|| path.clone())
        }
        DeValue::Array(entries) => entries.iter().enumerate().find_map(|(i, inner)| deeper(i.to_string(), inner)),
        DeValue::Table(table) => table.iter().find_map(|(key, inner)| deeper(key.get_ref().to_string(), inner)),
        _ => None,
    }
}

/// Serde says in words what is wrong, and toml where: this finds the key path again, and says it as all of this room does.
fn explain(source: &Source, model: &Spanned<DeValue<'_>>, there: bool, error: &toml::de::Error) -> Error {
    let within = error.span().and_then(|span| path_at(model, &span)).unwrap_or_default();
    let mut path = vec!["model".to_owned()];
    path.extend(within);
    let message = error.message().trim();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let first = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    if message.starts_with("unknown field") {
        let table =
            if path.len() > 1 && path.last().is_some_and(|key| key == first) { &path[..path.len() - 1] } else { &path };
        unknown_key(source, table, first, &known)
    } else if message.starts_with("missing field") {
        let absent = if there { "" } else { ", which is not there," };
        let words = format!("[{}]{absent} has no key {first}, which the model needs", join(&path));
        source.fault_in_words(&path, &words)
    } else if message.starts_with("unknown variant") {
        suggest(source.fault(&path, &format!("is not one of {}", known.join(", "))), first, &known)
    } else {
        source.fault(&path, &format!("does not fit the model: {message}"))
    }
}
