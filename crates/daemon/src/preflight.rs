//! What stands against something that is asked, told at once and before anything is changed.
//!
//! The checks are those of `banger doctor`, over facts that cost a few looks at files; no program
//! is run.

use crate::doctor::{Facts, examine};
use banger_api::{Check, ErrorBody, Scope, Verdict};
use banger_core::error::ErrorCode;

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Task<'a> {
    /// A VM is to start; it may have no name yet.
    Start(Option<&'a str>),
    /// The work disk of this VM is to become larger.
    Grow(&'a str),
    /// An image of this name is to be imported.
    Import(&'a str),
}

impl Task<'_> {
    const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::Start(_) => &[Scope::Vm, Scope::Nat, Scope::Bundle, Scope::Disk],
            Self::Grow(_) => &[Scope::Growth],
            Self::Import(_) => &[Scope::Import],
        }
    }

    /// That it cannot be done, as a clause.
    fn cannot(self) -> String {
        match self {
            Self::Start(Some(vm)) => format!("`{vm}` cannot start on this host"),
            Self::Start(None) => "a VM cannot start on this host".to_owned(),
            Self::Grow(vm) => format!("the work disk of `{vm}` cannot grow"),
            Self::Import(image) => format!("`{image}` cannot be imported"),
        }
    }
}

/// Everything that stands against the tasks, which are done together. Returns what is to be said of
/// them all the same.
///
/// # Errors
///
/// A problem that stands alone is told as it is. Several are the causes of one error, which has the
/// code of the first and the remedies of all, each once.
pub fn check(facts: &Facts, tasks: &[Task<'_>]) -> Result<Vec<String>, Box<ErrorBody>> {
    let of = |task: &Task<'_>| task.scopes().iter().flat_map(|scope| examine(facts, *scope));
    let checks: Vec<Check> = tasks.iter().flat_map(of).collect();
    let failed: Vec<&Check> =
        checks.iter().filter(|check| check.verdict == Verdict::Fail).collect();
    let (Some(first), Some(task)) = (failed.first(), tasks.first()) else {
        return Ok(worth_saying(checks));
    };
    let code = first.code.unwrap_or(ErrorCode::Host);
    let mut hints: Vec<String> = Vec::new();
    for hint in failed.iter().flat_map(|check| &check.hints) {
        if !hints.contains(hint) {
            hints.push(hint.clone());
        }
    }
    let mut said = failed.iter().flat_map(|check| check.found.iter().cloned());
    let message = if failed.len() == 1 {
        said.next().unwrap_or_default()
    } else {
        format!("{} for {} reasons", task.cannot(), failed.len())
    };
    let causes = said.collect();
    Err(Box::new(ErrorBody { causes, hints, ..ErrorBody::plain(code, message) }))
}

/// The warnings that belong to the request itself. What is amiss with the host at all times is for
/// `banger doctor` to say.
fn worth_saying(checks: Vec<Check>) -> Vec<String> {
    let warned = |check: &Check| check.scope == Scope::Growth && check.verdict == Verdict::Warn;
    checks.into_iter().filter(warned).flat_map(|check| check.found).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::tests::{bare, complete};
    use crate::doctor::{Growth, LongFile, SourceFacts, Unread};
    use banger_core::unit::Bytes;

    #[test]
    fn a_complete_host_lets_a_vm_start() {
        assert_eq!(check(&complete(), &[Task::Start(None)]), Ok(Vec::new()));
    }

    #[test]
    fn one_problem_is_the_error_itself() {
        let facts = Facts { has_program: false, ..complete() };
        let error = check(&facts, &[Task::Start(Some("otter"))]).unwrap_err();
        assert_eq!(error.code, ErrorCode::MissingDependency);
        insta::assert_snapshot!(error.message, @"Firecracker is not installed: there is no `/usr/local/bin/firecracker`");
        assert!(error.causes.is_empty());
        assert_eq!(error.hints.len(), 1);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let error = check(&bare(), &[Task::Start(Some("otter"))]).unwrap_err();
        insta::assert_snapshot!(error.message, @"`otter` cannot start on this host for 5 reasons");
        assert_eq!(error.causes.len(), 5, "{:?}", error.causes);
        assert_eq!(error.hints.len(), 5, "{:?}", error.hints);
        let unnamed = check(&bare(), &[Task::Start(None)]).unwrap_err().message;
        assert!(unnamed.starts_with("a VM cannot"), "{unnamed}");
    }

    /// The error as its user reads it.
    fn told(error: &ErrorBody) -> String {
        let mut text = format!("{}: {}\n", error.code, error.message);
        error.causes.iter().for_each(|cause| text += &format!("caused by: {cause}\n"));
        error.hints.iter().for_each(|hint| text += &format!("hint: {hint}\n"));
        text
    }

    fn source(role: &'static str, read: Result<Option<Bytes>, Unread>) -> SourceFacts {
        SourceFacts { role, path: format!("/x/{role}").into(), read }
    }

    #[test]
    fn an_import_needs_its_sources_and_room_for_what_is_in_them() {
        let mut facts = complete();
        facts.sources = vec![source("source", Ok(Some(Bytes(5 << 30))))];
        assert_eq!(check(&facts, &[Task::Import("dev")]), Ok(Vec::new()));
        // An archive may hold more than is unpacked.
        facts.host.room = Ok(Bytes(1 << 30));
        assert_eq!(check(&facts, &[Task::Import("dev")]), Ok(Vec::new()));
        facts.host.room = Ok(Bytes(1 << 20));
        insta::assert_snapshot!(told(&check(&facts, &[Task::Import("dev")]).unwrap_err()), @r"
        no_space: 1.0 MiB are left, and an import needs 16.0 MiB at least
        hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
        ");
        facts.host = bare().host;
        facts.host.room = Ok(Bytes(0));
        let denied = Unread::Refused("Permission denied (os error 13)".to_owned());
        facts.sources = vec![source("source", Err(denied)), source("kernel", Err(Unread::Missing))];
        insta::assert_snapshot!(told(&check(&facts, &[Task::Import("dev")]).unwrap_err()), @r"
        not_permitted: `dev` cannot be imported for 5 reasons
        caused by: `/x/source` cannot be read: Permission denied (os error 13)
        caused by: `/x/kernel` does not exist
        caused by: no root file system can be written: there is no program `mke2fs`
        caused by: the daemon is not root, and may not make files of other owners, as a root file system has
        caused by: 0 B are left, and an import needs 16.0 MiB at least
        hint: let the daemon's user read it, or give a copy
        hint: the daemon reads the path, on the machine that it runs on
        hint: install it with `apt install e2fsprogs`
        hint: stop it with `banger daemon stop`, and use `sudo banger`
        hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
        ");
    }

    #[test]
    fn a_work_disk_grows_where_a_file_can_and_little_room_is_only_said() {
        let mut facts = complete();
        let to = Bytes(100 << 30);
        facts.demand.growth = Some(Growth { from: Bytes(8 << 30), to });
        facts.long_file = Some(LongFile { bytes: to, holds: Ok(()) });
        facts.host.room = Ok(Bytes(200 << 30));
        assert_eq!(check(&facts, &[Task::Grow("otter")]), Ok(Vec::new()));
        facts.host.room = Ok(Bytes(64 << 30));
        let said = check(&facts, &[Task::Start(Some("otter")), Task::Grow("otter")]).unwrap();
        insta::assert_snapshot!(said.join("\n"), @"the work disk can take 92.0 GiB more, and 64.0 GiB are left: the guest's writes fail when that is used up");
        let reason = "File too large (os error 27)".to_owned();
        facts.long_file = Some(LongFile { bytes: to, holds: Err(reason) });
        insta::assert_snapshot!(told(&check(&facts, &[Task::Grow("otter")]).unwrap_err()), @r"
        no_space: a file cannot measure 100.0 GiB where the disks are: File too large (os error 27)
        hint: give a smaller `--disk-size`, or set `BANGER_STATE_DIR` to another file system
        ");
        facts.host.room = Ok(Bytes(1 << 20));
        insta::assert_snapshot!(told(&check(&facts, &[Task::Grow("otter")]).unwrap_err()), @r"
        no_space: the work disk of `otter` cannot grow for 2 reasons
        caused by: a file cannot measure 100.0 GiB where the disks are: File too large (os error 27)
        caused by: 1.0 MiB are left, and a file system that grows writes up to 16.0 MiB
        hint: give a smaller `--disk-size`, or set `BANGER_STATE_DIR` to another file system
        hint: free some room, delete VMs with `banger vm delete`, or set `BANGER_STATE_DIR` to another file system
        ");
    }
}
