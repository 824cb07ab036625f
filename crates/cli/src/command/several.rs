//! Asking for several VMs at once and telling what came of each, in the order given. One that fails
//! stops none of the others.

use crate::failure::Failure;
use crate::output::{Format, Output};
use banger_api::ErrorBody;
use futures_util::future::join_all;
use serde::ser::{Serialize, SerializeMap, Serializer};

/// What came of one reference.
#[derive(Debug)]
pub(super) struct Report<T> {
    pub(super) reference: String,
    result: Result<T, ErrorBody>,
}

impl<T> Report<T> {
    /// The answer, or why there is none.
    pub(super) fn answer(&self) -> Result<&T, &ErrorBody> {
        self.result.as_ref()
    }
}

/// Asks for all of them at once.
pub(super) async fn ask<T, E: Into<ErrorBody>, A: Future<Output = Result<T, E>>>(
    refs: &[String],
    ask: impl Fn(String) -> A,
) -> Vec<Report<T>> {
    let answers = join_all(refs.iter().map(|reference| ask(reference.clone()))).await;
    let reports = refs.iter().zip(answers);
    reports
        .map(|(reference, answer)| Report {
            reference: reference.clone(),
            result: answer.map_err(E::into),
        })
        .collect()
}

/// Tells what came of each: a text of its own, or its error.
pub(super) fn tell_each<T: Serialize>(
    output: &Output,
    key: &'static str,
    reports: &[Report<T>],
    text: impl Fn(&str, &T) -> String,
) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return tell_document(output, key, reports);
    }
    for report in reports {
        match &report.result {
            Ok(answer) => output.text(&text(&report.reference, answer))?,
            Err(body) => output.error(subject(report, reports), body),
        }
    }
    end(reports)
}

/// Tells what came of all: one text of all good answers, then the errors.
pub(super) fn tell_all<T: Serialize>(
    output: &Output,
    key: &'static str,
    reports: &[Report<T>],
    text: impl Fn(&mut dyn Iterator<Item = &T>) -> String,
) -> Result<(), Failure> {
    if output.format() == Format::Json {
        return tell_document(output, key, reports);
    }
    let mut good = reports.iter().filter_map(|report| report.result.as_ref().ok()).peekable();
    if good.peek().is_some() {
        output.text(&text(&mut good))?;
    }
    for report in reports {
        if let Err(body) = &report.result {
            output.error(subject(report, reports), body);
        }
    }
    end(reports)
}

/// What an error is about, where that is not plain.
fn subject<'a, T>(report: &'a Report<T>, all: &[Report<T>]) -> Option<&'a str> {
    (all.len() > 1).then_some(report.reference.as_str())
}

fn tell_document<T: Serialize>(
    output: &Output,
    key: &'static str,
    reports: &[Report<T>],
) -> Result<(), Failure> {
    output.answer(&documents(key, reports), |_| String::new())?;
    end(reports)
}

/// The document of all in one line, for who reads one after the other.
pub(super) fn document_line<T: Serialize>(key: &'static str, reports: &[Report<T>]) -> String {
    let documents = documents(key, reports);
    serde_json::to_string(&documents).expect("an answer is plain data") + "\n"
}

fn documents<'a, T>(key: &'static str, reports: &'a [Report<T>]) -> Vec<Document<'a, T>> {
    reports.iter().map(|report| Document { key, report }).collect()
}

/// The command fails as its worst part did.
fn end<T>(reports: &[Report<T>]) -> Result<(), Failure> {
    let errors = reports.iter().filter_map(|report| report.result.as_ref().err());
    match errors.map(|body| body.code.exit_code()).max() {
        Some(code) => Err(Failure::Exit(code)),
        None => Ok(()),
    }
}

/// `{"ref": …, "<key>": …}` or `{"ref": …, "error": …}`.
struct Document<'a, T> {
    key: &'static str,
    report: &'a Report<T>,
}

impl<T: Serialize> Serialize for Document<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("ref", &self.report.reference)?;
        match &self.report.result {
            Ok(answer) => map.serialize_entry(self.key, answer)?,
            Err(body) => map.serialize_entry("error", body)?,
        }
        map.end()
    }
}
