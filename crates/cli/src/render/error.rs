//! Errors and notes as people read them.

use anstyle::{AnsiColor, Style};
use banger_api::ErrorBody;

const ERROR: Style = AnsiColor::Red.on_default().bold();
const NOTE: Style = AnsiColor::Yellow.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();
const DETAIL: Style = Style::new().bold();

/// An error with all that is known of it, a line for each. `of` is what it concerns, where the
/// command concerned several things.
pub(crate) fn error(of: Option<&str>, body: &ErrorBody) -> String {
    let message = match of {
        Some(of) => format!("{of}: {}", body.message),
        None => body.message.clone(),
    };
    let mut lines = vec![line(ERROR, "error", &message)];
    lines.extend(body.causes.iter().map(|cause| line(DETAIL, "caused by", cause)));
    lines.extend(body.hints.iter().map(|hint| line(HINT, "hint", hint)));
    if let Some(path) = &body.log_path {
        lines.push(line(DETAIL, "log", &path.display().to_string()));
    }
    if let Some(op_id) = &body.op_id {
        lines.push(line(DETAIL, "operation", op_id.as_str()));
    }
    lines.concat()
}

/// A note, without a line feed.
pub(crate) fn note(message: &str) -> String {
    line(NOTE, "note", message).trim_end().to_owned()
}

fn line(style: Style, label: &str, text: &str) -> String {
    let text = printable(text.trim_end());
    let indented = text.replace('\n', "\n    ");
    format!("{style}{label}:{style:#} {indented}\n")
}

/// Makes control characters visible: an error may quote a guest's console, which must not be able
/// to steer the reader's terminal.
pub(crate) fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' => shown.push(c),
            '\r' => {}
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}

/// A text that may have several lines, in one.
pub(crate) fn one_line(text: &str) -> String {
    printable(text).split('\n').map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::error::ErrorCode;

    fn plain(styled: &str) -> String {
        anstream::adapter::strip_str(styled).to_string()
    }

    #[test]
    fn every_part_has_its_line() {
        let body = ErrorBody {
            causes: vec!["the VMM ended with code 1".into(), "first\r\nsecond".into()],
            hints: vec!["look".into()],
            op_id: Some("0123456789".parse().unwrap()),
            log_path: Some("/state/vmm.log".into()),
            ..ErrorBody::plain(ErrorCode::Vmm, "`otter` did not start")
        };
        insta::assert_snapshot!(plain(&error(None, &body)), @r"
        error: `otter` did not start
        caused by: the VMM ended with code 1
        caused by: first
            second
        hint: look
        log: /state/vmm.log
        operation: 0123456789
        ");
    }

    #[test]
    fn an_error_of_one_of_several_names_it() {
        let body = ErrorBody::plain(ErrorCode::WrongState, "it does not run");
        assert_eq!(plain(&error(Some("otter"), &body)), "error: otter: it does not run\n");
    }

    #[test]
    fn quoted_output_cannot_steer_the_terminal() {
        let body = ErrorBody::plain(ErrorCode::GuestFailed, "\u{1b}[2Jgone\u{7}");
        assert_eq!(plain(&error(None, &body)), "error: \\u{1b}[2Jgone\\u{7}\n");
    }
}
