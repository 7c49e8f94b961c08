//! The case as written: a tree of tables and values, each of which knows its key path, and complains with it.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::explain::{join, line, suggest};
use super::source::Source;
use crate::error::{Error, Result};

/// A choice that the case file writes as a word.
pub trait Word: Copy + PartialEq + 'static {
    /// What is chosen, with its article, as in "an integrator".
    const CHOICE: &'static str;
    /// The words and what they mean.
    const WORDS: &'static [(&'static str, Self)];

    /// The word for this choice.
    fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(_, meaning)| *meaning == self).map_or("", |(word, _)| word)
    }
}

/// A parsed case.
pub(super) struct Document<'s> {
    pub source: &'s Source,
    root: Spanned<DeTable<'s>>,
}

impl<'s> Document<'s> {
    /// Parses the text.
    ///
    /// # Errors
    /// If it is not TOML; the error has line and column.
    pub fn parse(source: &'s Source) -> Result<Self> {
        let root = DeTable::parse(&source.text).map_err(|error| {
            let start = error.span().map_or(source.text.len(), |span: Range<usize>| span.start).min(source.text.len());
            let column = source.text[..start].chars().rev().take_while(|&c| c != '\n').count() + 1;
            let place = format!("{}:{}:{column}", source.path.display(), line(&source.text, start));
            Error::case(format!("{place}: this is not TOML: {}", error.message().trim()))
        })?;
        Ok(Document { source, root })
    }

    /// The outermost table, which may have only these keys.
    ///
    /// # Errors
    /// If it has another key.
    pub fn root(&self, keys: &[&str]) -> Result<Table<'_>> {
        let root = Table { source: self.source, path: Vec::new(), entries: Some(self.root.get_ref()) };
        root.allow(keys)?;
        Ok(root)
    }
}

/// A table of the case; one that is not there is empty.
pub(super) struct Table<'d> {
    source: &'d Source,
    path: Vec<String>,
    entries: Option<&'d DeTable<'d>>,
}

impl<'d> Table<'d> {
    /// The value of a key, if it is there.
    pub fn get(&self, key: &str) -> Option<Value<'d>> {
        let typed = self.entries?.get(key)?;
        Some(Value { source: self.source, path: [&self.path[..], &[key.to_owned()]].concat(), typed })
    }

    /// The value of a key that must be there; `what` says what it is, as in "the time at which the run ends".
    pub fn need(&self, key: &str, what: &str) -> Result<Value<'d>> {
        self.get(key).ok_or_else(|| self.wrong(&format!("has no key {key}: {what}")))
    }

    /// The one key among several that is there, and its value.
    pub fn need_one<'k>(&self, keys: &[&'k str]) -> Result<(&'k str, Value<'d>)> {
        let mut there = keys.iter().filter_map(|&key| Some((key, self.get(key)?)));
        match (there.next(), there.next()) {
            (Some(one), None) => Ok(one),
            (None, _) => Err(self.wrong(&format!("needs one of {}", keys.join(", ")))),
            (Some((first, _)), Some((_, second))) => Err(second
                .wrong(&format!("stands beside {first}; only one of {} may be there", keys.join(", ")))
                .hint("remove one of them; --set KEY= removes a key, --set KEY='{ … }' replaces a whole table")),
        }
    }

    /// The table at a key, which may have only these keys; an empty one if the key is not there.
    pub fn table(&self, key: &str, keys: &[&str]) -> Result<Table<'d>> {
        match self.get(key) {
            Some(value) => value.table(keys),
            None => {
                Ok(Table { source: self.source, path: [&self.path[..], &[key.to_owned()]].concat(), entries: None })
            }
        }
    }

    /// Whether a key is there.
    pub fn has(&self, key: &str) -> bool {
        self.entries.is_some_and(|entries| entries.contains_key(key))
    }

    /// The error that this table breaks a rule.
    pub fn wrong(&self, rule: &str) -> Error {
        let subject = if self.path.is_empty() { "the case".into() } else { format!("[{}]", join(&self.path)) };
        let absent = if self.entries.is_none() { ", which is not there," } else { "" };
        self.source.fault_in_words(&self.path, &format!("{subject}{absent} {rule}"))
    }

    fn allow(&self, keys: &[&str]) -> Result<()> {
        let stranger =
            self.entries.into_iter().flat_map(DeTable::keys).find(|key| !keys.contains(&key.get_ref().as_ref()));
        let Some(stranger) = stranger else { return Ok(()) };
        Err(unknown_key(self.source, &self.path, stranger.get_ref(), keys))
    }
}

/// The error that a table has a key that it should not have.
pub(super) fn unknown_key(source: &Source, table: &[String], key: &str, keys: &[&str]) -> Error {
    let path = [table, &[key.to_owned()]].concat();
    let owner = if table.is_empty() { "a case".into() } else { format!("[{}]", join(table)) };
    let known = if keys.is_empty() { "it has none".into() } else { format!("its keys are {}", keys.join(", ")) };
    let error = source.fault_in_words(&path, &format!("{} is not a key of {owner}; {known}", join(&path)));
    suggest(error, key, keys)
}

/// A value of the case.
pub(super) struct Value<'d> {
    pub source: &'d Source,
    pub path: Vec<String>,
    pub typed: &'d Spanned<DeValue<'d>>,
}

impl<'d> Value<'d> {
    /// The error that this value breaks a rule, as in "is negative; it must be positive".
    pub fn wrong(&self, rule: &str) -> Error {
        self.source.fault(&self.path, rule)
    }

    fn wrong_type(&self, wanted: &str) -> Error {
        let article = if matches!(self.typed.get_ref(), DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        self.wrong(&format!("is {article} {}; it must be {wanted}", self.typed.get_ref().type_str()))
    }

    /// Whether it is a table.
    pub fn is_table(&self) -> bool {
        self.typed.get_ref().is_table()
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.typed.get_ref().is_array()
    }

    /// Whether it is this text.
    pub fn is(&self, text: &str) -> bool {
        self.typed.get_ref().as_str() == Some(text)
    }

    /// A text.
    pub fn text(&self) -> Result<&'d str> {
        self.typed.get_ref().as_str().ok_or_else(|| self.wrong_type("a text in quotes"))
    }

    /// True or false.
    pub fn truth(&self) -> Result<bool> {
        self.typed.get_ref().as_bool().ok_or_else(|| self.wrong_type("true or false"))
    }

    /// A finite number.
    pub fn number(&self) -> Result<f64> {
        let number = match self.typed.get_ref() {
            DeValue::Integer(digits) => i128::from_str_radix(digits.as_str(), digits.radix()).ok().map(|n| n as f64),
            DeValue::Float(digits) => digits.as_str().parse().ok(),
            _ => return Err(self.wrong_type("a number")),
        };
        number
            .filter(|number| number.is_finite())
            .ok_or_else(|| self.wrong("is not finite; it must be a finite number"))
    }

    /// A finite number above zero.
    pub fn positive(&self) -> Result<f64> {
        let number = self.number()?;
        if number > 0.0 { Ok(number) } else { Err(self.wrong("must be above 0")) }
    }

    /// A whole number of at least `least`.
    pub fn whole(&self, least: u64) -> Result<u64> {
        let DeValue::Integer(digits) = self.typed.get_ref() else { return Err(self.wrong_type("a whole number")) };
        let number = i128::from_str_radix(digits.as_str(), digits.radix()).ok();
        match number {
            Some(number) if number < i128::from(least) => Err(self.wrong(&format!("must be at least {least}"))),
            Some(number) if number <= i128::from(i64::MAX) => Ok(number as u64),
            _ => Err(self.wrong("is too large; the most is 2^63 - 1")),
        }
    }

    /// A word for one of several choices.
    pub fn word<W: Word>(&self) -> Result<W> {
        let words: Vec<&str> = W::WORDS.iter().map(|(word, _)| *word).collect();
        self.among(&words, W::CHOICE).map(|place| W::WORDS[place].1)
    }

    /// The place of this text among the candidates; `what` says what they are, with an article.
    pub fn among(&self, candidates: &[&str], what: &str) -> Result<usize> {
        let word = self.text()?;
        candidates.iter().position(|candidate| *candidate == word).ok_or_else(|| {
            let error = self.wrong(&format!("is not {what}; one of {}", candidates.join(", ")));
            suggest(error, word, candidates)
        })
    }

    /// The entries of a list.
    pub fn list(&self) -> Result<Vec<Value<'d>>> {
        let entries = self.typed.get_ref().as_array().ok_or_else(|| self.wrong_type("a list in brackets"))?;
        let entry = |(place, typed)| Value {
            source: self.source,
            path: [&self.path[..], &[usize::to_string(&place)]].concat(),
            typed,
        };
        Ok(entries.iter().enumerate().map(entry).collect())
    }

    /// A table that may have only these keys.
    pub fn table(&self, keys: &[&str]) -> Result<Table<'d>> {
        let entries = self.typed.get_ref().as_table().ok_or_else(|| self.wrong_type("a table"))?;
        let table = Table { source: self.source, path: self.path.clone(), entries: Some(entries) };
        table.allow(keys)?;
        Ok(table)
    }
}
