//! Why a VM is as it is: state, last error, the stages of its last boot, and the ends of its logs
//! with the telling lines marked.

use crate::error::EngineError;
use crate::postmortem::{self, Remains};
use crate::shared::Shared;
use crate::view::VmView;
use banger_core::id::{OpId, VmId};
use banger_core::names::Layout;
use banger_core::reference::RefError;
use banger_core::telling::{BootStage, Telling, Voice, boot_stages, plain};
use banger_core::vm::UnixMillis;
use banger_core::vm_name::VmName;
use banger_host::raw_log::read_kept;
use std::path::{Path, PathBuf};

/// How many of a log's last lines are shown.
const LAST_LINES: usize = 20;
/// How many telling lines are listed; a guest can say the same a thousand times.
const MOST_FINDINGS: usize = 10;
/// How many characters of a line are shown.
const LINE_MAX: usize = 400;

/// What is known about a VM that runs, ended, or could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Why {
    /// Its name.
    pub name: VmName,
    /// Its id.
    pub id: VmId,
    /// The VM; `None` where its creation failed and nothing else is left of it.
    pub view: Option<VmView>,
    /// Why it last failed or ended by itself.
    pub last_error: Option<String>,
    /// The operation that brought it into its state, or that failed to make it.
    pub op_id: Option<OpId>,
    /// When its creation failed, where it did.
    pub failed_at: Option<UnixMillis>,
    /// The stages of the last boot.
    pub stages: Vec<BootStage>,
    /// The telling lines of both logs, the first of each kind, in the order of the logs.
    pub findings: Vec<Finding>,
    /// The end of what the guest wrote.
    pub console: LogEnd,
    /// The end of what the VMM wrote.
    pub vmm: LogEnd,
}

/// A telling line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What it says.
    pub telling: Telling,
    /// Who wrote it.
    pub voice: Voice,
    /// The first such line.
    pub line: String,
    /// How many such lines there are.
    pub count: u32,
}

/// The end of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEnd {
    /// The log.
    pub path: PathBuf,
    /// Its last lines, blank ones left out.
    pub lines: Vec<LogLine>,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// What it says, without escape sequences.
    pub text: String,
    /// What that tells, if it does.
    pub telling: Option<Telling>,
}

/// Gathers what is known about a VM, or about one whose creation failed.
pub(crate) fn why(shared: &Shared, reference: &str) -> Result<Why, EngineError> {
    let layout = &shared.settings.layout;
    match shared.find(reference) {
        Ok(handle) => of_vm(layout, handle.view()),
        Err(error @ EngineError::Reference(RefError::Unknown { .. })) => {
            let kept = postmortem::find(layout, reference).ok_or(error)?;
            let Logs { stages, findings, console, vmm } =
                Logs::read(&kept.console_log(layout), &kept.vmm_log(layout))?;
            let Remains { name, id, error, op_id, failed_at } = kept;
            let (last_error, failed_at) = (Some(error), Some(failed_at));
            let view = None;
            Ok(Why { name, id, view, last_error, op_id, failed_at, stages, findings, console, vmm })
        }
        Err(error) => Err(error),
    }
}

fn of_vm(layout: &Layout, view: VmView) -> Result<Why, EngineError> {
    let own = [&view.paths.console_log, &view.paths.vmm_log].map(PathBuf::clone);
    // A first start that failed has taken the VM's directory back.
    let is_gone = !own.iter().any(|log| log.exists());
    let kept = is_gone.then(|| postmortem::find(layout, view.vm.id.as_str())).flatten();
    let [console, vmm] = match kept {
        Some(kept) => [kept.console_log(layout), kept.vmm_log(layout)],
        None => own,
    };
    let Logs { stages, findings, console, vmm } = Logs::read(&console, &vmm)?;
    Ok(Why {
        name: view.vm.name.clone(),
        id: view.vm.id.clone(),
        last_error: view.vm.last_error.clone(),
        op_id: view.vm.changed_by.clone(),
        failed_at: None,
        view: Some(view),
        stages,
        findings,
        console,
        vmm,
    })
}

/// What the two logs tell.
struct Logs {
    stages: Vec<BootStage>,
    findings: Vec<Finding>,
    console: LogEnd,
    vmm: LogEnd,
}

impl Logs {
    fn read(console: &Path, vmm: &Path) -> Result<Self, EngineError> {
        let (by_guest, by_vmm) = (read(console)?, read(vmm)?);
        let mut all = findings(Voice::Guest, &by_guest);
        all.extend(findings(Voice::Vmm, &by_vmm));
        Ok(Self {
            stages: boot_stages(by_guest.iter().map(String::as_str)),
            findings: all,
            console: LogEnd { path: console.to_owned(), lines: last(Voice::Guest, &by_guest) },
            vmm: LogEnd { path: vmm.to_owned(), lines: last(Voice::Vmm, &by_vmm) },
        })
    }
}

fn read(path: &Path) -> Result<Vec<String>, EngineError> {
    let failed = |source| EngineError::File { action: "read", path: path.to_owned(), source };
    let bytes = read_kept(path).map_err(failed)?;
    Ok(lines(&String::from_utf8_lossy(&bytes)))
}

/// The lines that say something.
fn lines(text: &str) -> Vec<String> {
    text.lines().map(plain).filter(|line| !line.is_empty()).collect()
}

/// The first line of each kind, with how many there are.
fn findings(voice: Voice, lines: &[String]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for line in lines {
        let Some(telling) = Telling::recognise(voice, line) else { continue };
        if let Some(known) = findings.iter_mut().find(|finding| finding.telling == telling) {
            known.count += 1;
        } else if findings.len() < MOST_FINDINGS {
            findings.push(Finding { telling, voice, line: shortened(line), count: 1 });
        }
    }
    findings
}

fn last(voice: Voice, lines: &[String]) -> Vec<LogLine> {
    let line =
        |line: &String| LogLine { text: shortened(line), telling: Telling::recognise(voice, line) };
    lines[lines.len().saturating_sub(LAST_LINES)..].iter().map(line).collect()
}

fn shortened(line: &str) -> String {
    match line.char_indices().nth(LINE_MAX) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The end of a boot whose root device is not there, as a 6.1 kernel has it.
    const NO_ROOT: &str = "\
        [    0.000000] Linux version 6.1.0-18-cloud-amd64\r\n\
        [    1.020312] VFS: Cannot open root device \"vda\" or unknown-block(0,0): error -6\r\n\
        \r\n\
        [    1.023401] Please append a correct \"root=\" boot option; here are the available partitions:\r\n\
        [    1.024100] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\r\n\
        [    1.024901] CPU: 0 PID: 1 Comm: swapper/0 Not tainted 6.1.0-18-cloud-amd64 #1\r\n\
        [    1.030000] Rebooting in 1 seconds..\r\n";

    #[test]
    fn the_first_line_of_each_kind_is_a_finding_and_the_last_lines_are_marked() {
        let lines = lines(NO_ROOT);
        let findings = findings(Voice::Guest, &lines);
        let seen: Vec<_> = findings.iter().map(|found| (found.telling, found.count)).collect();
        assert_eq!(seen, [(Telling::NoRootDevice, 3)]);
        assert!(findings[0].line.ends_with("unknown-block(0,0): error -6"));
        let last = last(Voice::Guest, &lines);
        let marked = last.iter().filter(|line| line.telling.is_some()).count();
        assert_eq!((last.len(), marked), (6, 3));
    }

    #[test]
    fn a_long_log_is_shown_by_its_end_and_a_long_line_by_its_start() {
        let text: String = (0..50).map(|number| format!("line {number}\n")).collect();
        let long = format!("{text}{}\n", "é".repeat(500));
        let last = last(Voice::Vmm, &lines(&long));
        assert_eq!((last.len(), last[0].text.as_str()), (20, "line 31"));
        assert_eq!(last[19].text.chars().count(), LINE_MAX + 1);
    }
}
