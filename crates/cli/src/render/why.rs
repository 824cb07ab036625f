//! Why a VM is as it is, as people read it.

use super::error::{one_line, printable};
use super::time::elapsed;

use anstyle::{AnsiColor, Style};
use banger_api::{BootStage, Finding, LogEnd, LogSource, Why};

const TITLE: Style = Style::new().bold();
const TELLING: Style = AnsiColor::Red.on_default().bold();
const HINT: Style = AnsiColor::Cyan.on_default().bold();

/// All that is known, in sections, the most useful first.
pub(crate) fn text(why: &Why) -> String {
    let mut text = head(why);
    if !why.findings.is_empty() {
        text += &section("what tells why");
        text.extend(why.findings.iter().map(finding));
    }
    text += &section("stages of the last boot");
    text += &match why.stages.as_slice() {
        [] => "  none: banger-init did not report\n".to_owned(),
        stages => stages.iter().map(stage).collect(),
    };
    text + &log("console", &why.console) + &log("VMM", &why.vmm)
}

fn head(why: &Why) -> String {
    let state = match (&why.vm, &why.failed_at) {
        (Some(vm), _) => format!("{}, readiness {}", vm.state, vm.readiness),
        (None, Some(at)) => format!("its creation failed at {at}, and no VM is left"),
        (None, None) => "no VM is left".to_owned(),
    };
    let name = &why.name;
    let error = why.last_error.as_deref().map_or("none".to_owned(), one_line);
    let operation = why.op_id.as_ref().map_or_else(String::new, |op| {
        format!("{TITLE}operation{TITLE:#}: {op}; `banger daemon logs --op {op}` has its steps\n")
    });
    format!("{TITLE}{name}{TITLE:#}: {state}\n{TITLE}last error{TITLE:#}: {error}\n{operation}")
}

fn section(title: &str) -> String {
    format!("\n{TITLE}{title}{TITLE:#}\n")
}

fn finding(finding: &Finding) -> String {
    let source = match finding.source {
        LogSource::Console => "console",
        LogSource::Vmm => "VMM",
    };
    let times =
        if finding.count > 1 { format!(", {} times", finding.count) } else { String::new() };
    format!(
        "  {TELLING}{}{TELLING:#} ({source}{times})\n    {}\n    {HINT}hint:{HINT:#} {}\n",
        finding.meaning,
        printable(&finding.line),
        finding.hint
    )
}

fn stage(stage: &BootStage) -> String {
    let (word, at, took) = (stage.stage.word(), elapsed(stage.at_ms), elapsed(stage.took_ms));
    let error = stage.error.as_ref().map(|error| {
        let during = stage.during.map_or(String::new(), |during| format!("during {during}: "));
        during + &printable(error)
    });
    let remark = error.or_else(|| stage.warning.as_deref().map(printable)).unwrap_or_default();
    format!("  {word:<10} {at:>9}  +{took:<9} {remark}").trim_end().to_owned() + "\n"
}

fn log(what: &str, end: &LogEnd) -> String {
    let path = end.path.display();
    if end.lines.is_empty() {
        return section(&format!("the {what} said nothing ({path})"));
    }
    let mut text = section(&format!("the end of what the {what} said ({path})"));
    for line in &end.lines {
        let said = printable(&line.text);
        text += &match line.telling {
            Some(_) => format!("{TELLING}> {said}{TELLING:#}\n"),
            None => format!("  {said}\n"),
        };
    }
    text
}
