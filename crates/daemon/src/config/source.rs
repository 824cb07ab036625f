//! Where values come from: the file and the environment, as text with their origin.

use super::error::{ConfigError, ValueError};
use super::key::{Form, Key};
use std::fmt;
use std::path::PathBuf;
use toml::de::{DeTable, DeValue};

/// A configuration file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// What it holds.
    pub text: String,
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody gave one.
    Default,
    /// A line of the configuration file.
    File {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// An environment variable.
    Variable(String),
}

impl Origin {
    /// The origin in one word: `default`, the file's path, or the variable's name.
    pub fn name(&self) -> String {
        match self {
            Self::Default => "default".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
            Self::Variable(name) => name.clone(),
        }
    }

    /// The line, of a value from the file.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::File { line, .. } => Some(*line),
            Self::Default | Self::Variable(_) => None,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("the defaults"),
            Self::File { path, line } => write!(f, "line {line} of `{}`", path.display()),
            Self::Variable(name) => write!(f, "the environment variable `{name}`"),
        }
    }
}

/// Values as they were given; a later one for the same key wins, and all are checked.
#[derive(Debug, Default)]
pub(super) struct Texts(Vec<(Key, String, Origin)>);

impl Texts {
    /// Adds what a file gives.
    pub(super) fn read_file(&mut self, file: &Source) -> Result<(), ConfigError> {
        let line_of = |offset: usize| {
            1 + file.text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
        };
        let table = DeTable::parse(&file.text).map_err(|error| ConfigError::Syntax {
            path: file.path.clone(),
            line: line_of(error.span().map_or(0, |span| span.start)),
            problem: error.message().replace('\n', ", "),
        })?;
        let mut entries: Vec<_> = table.get_ref().iter().collect();
        entries.sort_by_key(|(name, _)| name.span().start);
        for (name, value) in entries {
            let line = line_of(name.span().start);
            let origin = Origin::File { path: file.path.clone(), line };
            let Some(key) = Key::find(name.get_ref()) else {
                let key = name.get_ref().to_string();
                let nearest = Key::nearest(&key);
                return Err(ConfigError::UnknownKey { key, origin, nearest });
            };
            match text_of(key.form(), value.get_ref()) {
                Some(text) => self.0.push((key, text, origin)),
                None => {
                    return Err(ConfigError::Type {
                        key,
                        origin,
                        expected: key.form().expected(),
                        found: type_name(value.get_ref()),
                    });
                }
            }
        }
        Ok(())
    }

    /// Adds what the environment gives.
    pub(super) fn read_env(&mut self, env: impl Fn(&str) -> Option<String>) {
        for key in Key::ALL {
            let name = key.variable();
            if let Some(text) = env(&name).filter(|text| !text.is_empty()) {
                self.0.push((key, text, Origin::Variable(name)));
            }
        }
    }

    /// The value of a key, if there is one.
    pub(super) fn get<T>(
        &self,
        key: Key,
        read: impl Fn(&str) -> Result<T, ValueError>,
    ) -> Result<Option<T>, ConfigError> {
        let mut last = None;
        for (_, text, origin) in self.0.iter().filter(|(other, ..)| *other == key) {
            let value = read(text).map_err(|source| {
                let origin = origin.clone();
                ConfigError::Value { key, origin, source }
            })?;
            last = Some(value);
        }
        Ok(last)
    }

    /// Where the value of a key came from.
    pub(super) fn origin(&self, key: Key) -> Origin {
        let last = self.0.iter().rev().find(|(other, ..)| *other == key);
        last.map_or(Origin::Default, |(_, _, origin)| origin.clone())
    }

    /// Where all values came from.
    pub(super) fn origins(&self) -> Vec<(Key, Origin)> {
        Key::ALL.into_iter().map(|key| (key, self.origin(key))).collect()
    }
}

/// The value in the form that the environment has too; `None` if its type is wrong.
fn text_of(form: Form, value: &DeValue<'_>) -> Option<String> {
    match (form, value) {
        (Form::Count | Form::Size, DeValue::Integer(number)) if number.radix() == 10 => {
            Some(number.as_str().to_owned())
        }
        (Form::Size | Form::Text | Form::List, DeValue::String(text)) => Some(text.to_string()),
        (Form::Switch, DeValue::Boolean(on)) => Some(on.to_string()),
        (Form::List, DeValue::Array(items)) => {
            let texts: Option<Vec<&str>> =
                items.iter().map(|item| item.get_ref().as_str()).collect();
            texts.map(|texts| texts.join(","))
        }
        _ => None,
    }
}

fn type_name(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "`true` or `false`",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}
