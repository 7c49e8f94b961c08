//! How a wrong case is explained: the line, the key, the value as typed, the rule, and what was probably meant.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::Source;
use crate::error::Error;

/// Where in the tree of a text a key lies.
pub(super) struct Place {
    /// The key itself; for an entry of a list, the entry.
    pub key: Range<usize>,
    /// Its value.
    pub value: Range<usize>,
}

impl Source {
    /// The error that the value of a key (as in `grid.block`) breaks a rule, with its line and the value as typed.
    ///
    /// For rules that only other rooms know. `rule` follows the value: "is larger than the grid; …".
    pub fn wrong(&self, key: &str, rule: impl AsRef<str>) -> Error {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        self.fault(&path, rule.as_ref())
    }

    /// The error that what lies at a key path breaks a rule.
    pub(super) fn fault(&self, path: &[String], rule: &str) -> Error {
        let value = DeTable::parse(&self.text)
            .ok()
            .and_then(|root| find(root.get_ref(), path))
            .map(|place| excerpt(&self.text[place.value]))
            .filter(|value| !value.is_empty());
        let key = join(path);
        let subject = match value {
            Some(value) => format!("{key} = {value}"),
            None => key,
        };
        Error::case(format!("{}: {subject} {rule}", self.location(path)))
    }

    /// The error that something is wrong at a key path, in words that need no value.
    pub(super) fn fault_in_words(&self, path: &[String], words: &str) -> Error {
        Error::case(format!("{}: {words}", self.location(path)))
    }

    /// The line of the file, or the setting, that a key path comes from; for one that is not there, where it would belong.
    fn location(&self, path: &[String]) -> String {
        let named = |setting: &super::source::Setting| format!("--set {}", setting.argument);
        if let Some(setting) = self.settings.iter().rev().find(|setting| path.starts_with(&setting.key)) {
            return named(setting);
        }
        let root = DeTable::parse(&self.written).ok();
        let line_of = |path: &[String]| {
            let place = find(root.as_ref()?.get_ref(), path)?;
            Some(format!("{}:{}", self.path.display(), line(&self.written, place.key.start)))
        };
        if let Some(place) = line_of(path) {
            return place;
        }
        let within = |setting: &&super::source::Setting| !path.is_empty() && setting.key.starts_with(path);
        if let Some(setting) = self.settings.iter().rev().find(within) {
            return named(setting);
        }
        let nearest = (1..path.len()).rev().find_map(|length| line_of(&path[..length]));
        nearest.unwrap_or_else(|| format!("{}:{}", self.path.display(), self.written.lines().count()))
    }
}

/// The number of the line, from 1, that a byte lies on.
pub(super) fn line(text: &str, byte: usize) -> usize {
    text.as_bytes().iter().take(byte).filter(|&&b| b == b'\n').count() + 1
}

/// A key path as typed, with quotes where TOML needs them.
pub(super) fn join(path: &[String]) -> String {
    let bare = |key: &str| !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let keys: Vec<String> = path.iter().map(|key| if bare(key) { key.clone() } else { format!("{key:?}") }).collect();
    keys.join(".")
}

/// The candidate that was probably meant by a word, if one is near enough.
pub(super) fn nearest<'c>(word: &str, candidates: &[&'c str]) -> Option<&'c str> {
    let plain = |word: &str| word.to_lowercase().replace(['-', ' '], "_");
    let word = plain(word);
    let distance = |candidate: &str| strsim::osa_distance(&word, &plain(candidate));
    let best = candidates.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(best) <= (word.chars().count() / 3).max(1)).then_some(best)
}

/// Adds "did you mean" to an error, if a candidate is near enough.
pub(super) fn suggest(error: Error, word: &str, candidates: &[&str]) -> Error {
    match nearest(word, candidates) {
        Some(candidate) => error.hint(format!("did you mean {candidate}?")),
        None => error,
    }
}

/// Where a key path lies in a tree; entries of lists are named by their number.
pub(super) fn find(table: &DeTable<'_>, path: &[String]) -> Option<Place> {
    let (first, mut rest) = path.split_first()?;
    let (key, mut value) = table.get_key_value(first.as_str())?;
    let mut key = key.span();
    while let Some((next, beyond)) = rest.split_first() {
        (key, value) = match value.get_ref() {
            DeValue::Table(inner) => inner.get_key_value(next.as_str()).map(|(key, value)| (key.span(), value))?,
            DeValue::Array(entries) => entries.get(next.parse::<usize>().ok()?).map(|entry| (entry.span(), entry))?,
            _ => return None,
        };
        rest = beyond;
    }
    let value = if is_headed(value, &key) { 0..0 } else { value.span() };
    Some(Place { key, value })
}

/// The key path of the key or value that lies at exactly this span, the innermost if there are several.
pub(super) fn path_at(value: &Spanned<DeValue<'_>>, span: &Range<usize>) -> Option<Vec<String>> {
    let step = |key: String, own: bool, inner: &Spanned<DeValue<'_>>| {
        let deeper = path_at(inner, span).or_else(|| own.then(Vec::new))?;
        Some([vec![key], deeper].concat())
    };
    let within = match value.get_ref() {
        DeValue::Table(table) => {
            table.iter().find_map(|(key, inner)| step(key.get_ref().to_string(), key.span() == *span, inner))
        }
        DeValue::Array(entries) => {
            entries.iter().enumerate().find_map(|(place, inner)| step(place.to_string(), false, inner))
        }
        _ => None,
    };
    within.or_else(|| (value.span() == *span).then(Vec::new))
}

/// Whether a value is a table written under a `[header]` or by dotted keys, which has no text of its own to show.
fn is_headed(value: &Spanned<DeValue<'_>>, key: &Range<usize>) -> bool {
    let holds_tables = |entries: &toml::de::DeArray<'_>| entries.iter().any(|entry| entry.get_ref().is_table());
    match value.get_ref() {
        DeValue::Table(_) => value.span().start <= key.start || value.span().len() <= key.len(),
        DeValue::Array(entries) => holds_tables(entries),
        _ => false,
    }
}

/// A value as typed, short enough for one line of a message.
fn excerpt(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = line.char_indices().nth(LONGEST) {
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_slips_are_guessed_and_strangers_are_not() {
        let words = ["forward_euler", "ssp_rk2", "ssp_rk3", "rk4"];
        assert_eq!(nearest("rk5", &words), Some("rk4"));
        assert_eq!(nearest("RK4", &words), Some("rk4"));
        assert_eq!(nearest("Forward-Euler", &words), Some("forward_euler"));
        assert_eq!(nearest("leapfrog", &words), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn a_rule_of_another_room_is_explained_with_line_and_value() {
        let source =
            Source::from_text("h.toml", "title = 'h'\n[grid]\ncells = [8,\n  9]\n[run]\nthreads = 2\n").unwrap();
        assert_eq!(source.wrong("grid.cells", "are too few").message(), "h.toml:3: grid.cells = [8, 9] are too few");
        assert_eq!(source.wrong("grid.block", "is x").message(), "h.toml:2: grid.block is x");
        assert_eq!(source.wrong("grid", "is x").message(), "h.toml:2: grid is x");
        let source = source.set(&["run.threads=3"]).unwrap();
        let error = source.wrong("run.threads", "are too many");
        assert_eq!(error.message(), "--set run.threads=3: run.threads = 3 are too many");
    }
}
