//! What each error code means and what to do about it, as `docs/errors.md` has it.

use super::ErrorCode;

/// What stands before the codes.
const INTRODUCTION: &str = "\
# Error codes

Every error of banger has a code. The client prints the error's message, what caused it and hints; with `--json`,
and from the daemon's API, it has the fields

| field | what it holds |
|---|---|
| `code` | one of the codes below |
| `message` | what could not be done, in one sentence |
| `causes` | what caused it, the nearest cause first |
| `hints` | what you can do, most useful first |
| `op_id` | the operation; each line of the daemon's log that belongs to it carries the same id |
| `log_path` | a file that tells more, where there is one |

The list is closed: a program may match on it. A code is never given another meaning and never used again after it
was removed. The client exits with 1 for each code but `internal`, which is 2; a wrong usage of the command line is 2
as well.
";

/// The width of the document.
const WIDTH: usize = 120;

/// Each code with what it means, in one or two sentences of Markdown, and what its reader can do, as a
/// clause of Markdown.
const MANUAL: [(ErrorCode, &str, &str); ErrorCode::ALL.len()] = [
    (
        ErrorCode::InvalidRequest,
        "A name, a size, a flag or the body of a request breaks a rule; nothing was changed. \
         The message names the value and the rule.",
        "correct the value. Sizes are given as `512M`, `8G`, `8GiB`, `512MiB`, or in MiB \
         without a unit. A name has 1 to 63 of a-z, 0-9 and `-`, and no `-` at either end. \
         Disks can grow and not shrink.",
    ),
    (
        ErrorCode::VmNotFound,
        "No VM has the given id or name, nor one that begins with it.",
        "`banger vm list` shows all VMs. A hint names the nearest name if there is one.",
    ),
    (
        ErrorCode::AmbiguousReference,
        "Several VMs have an id or a name that begins with what was given. The message lists \
         them.",
        "give more of the name, or the whole id.",
    ),
    (
        ErrorCode::NameTaken,
        "Another VM, or another image, has the name.",
        "pick another name, or delete the other with `banger vm delete` or `banger image \
         delete`.",
    ),
    (
        ErrorCode::WrongState,
        "The VM is in a state that does not allow the request: it runs and should be started, \
         or it is stopped and should be entered.",
        "`banger vm show` tells the state. Start or stop the VM first, or wait until the \
         operation at work has ended.",
    ),
    (
        ErrorCode::Interrupted,
        "Another operation on the same VM came first, or the request was cancelled. What it \
         had added was removed again.",
        "look at the VM with `banger vm show` and repeat the request if it is still wanted.",
    ),
    (
        ErrorCode::ImageNotFound,
        "No image has the given id or name, nor one that begins with it.",
        "`banger image list` shows all images.",
    ),
    (
        ErrorCode::ImageInUse,
        "The image cannot be deleted: VMs were created from it, or it is the runtime \
         bundle's.",
        "the message names the VMs; delete them first.",
    ),
    (
        ErrorCode::ImageUnusable,
        "One of the image's files (kernel, initrd, root file system) is missing or of another \
         kind.",
        "`banger image list` shows which can be used. The message names the file: put it \
         back, or give an ELF `vmlinux` or `bzImage` for x86-64 as the kernel and an ext4 \
         file system without a partition table as the root.",
    ),
    (
        ErrorCode::BundleUnusable,
        "The runtime bundle is missing or broken, or could not be built or fetched.",
        "build it with `banger bundle build`, which needs root and the Debian archive. If the \
         build failed, check that the archive can be reached, run `apt-get update`, and try \
         again. `banger bundle fetch` unpacks one from an archive instead (docs/bundle.md), and \
         `banger bundle verify` tells all that is wrong with one.",
    ),
    (
        ErrorCode::InvalidConfig,
        "The configuration file or a `BANGER_…` variable has an unknown key, a value of the \
         wrong type or a value that is out of range. The daemon does not start with half a \
         configuration.",
        "correct the line that the message names. `banger daemon status` shows each setting \
         with its origin.",
    ),
    (
        ErrorCode::SubnetExhausted,
        "Each address of the subnet belongs to a VM. Stopped VMs keep theirs.",
        "delete a VM, or set a `subnet` with a shorter prefix in the configuration file.",
    ),
    (
        ErrorCode::NetworkConflict,
        "The bridge's name or address belongs to something else on the machine, or the port \
         of the host that should lead into a guest does: to a process or to another VM, which \
         the error names. banger does not touch what it has not made.",
        "set another `bridge` or `subnet` in the configuration file, or choose another port; \
         or remove the other object.",
    ),
    (
        ErrorCode::NoSpace,
        "The file system that holds the state has no room left, or a quota is used up. What \
         the operation had added was removed.",
        "free some room, or delete VMs with `banger vm delete`. Disks are sparse: a VM uses \
         what it has written, not its virtual size.",
    ),
    (
        ErrorCode::NotPermitted,
        "The daemon lacks a privilege that the operation needs, or the socket belongs to \
         another user.",
        "run the daemon as root, or use the daemon of your own user.",
    ),
    (
        ErrorCode::MissingDependency,
        "A program, a device or a feature of the kernel that is needed is not there. The \
         message names it.",
        "install the Debian package or load the kernel module that the hint names. `banger \
         doctor` checks all of them.",
    ),
    (
        ErrorCode::Host,
        "A change of the machine failed for a reason that has no code of its own.",
        "the causes name the object and what the kernel or the program answered. The daemon's \
         log has the operation under its `op_id`.",
    ),
    (
        ErrorCode::Vmm,
        "The VMM did not start, refused a request, or died. The last lines of its output are \
         among the causes.",
        "`banger vm logs --why` shows the telling lines, `banger vm logs --vmm` all of them. \
         `banger doctor` tells whether KVM can be used.",
    ),
    (
        ErrorCode::GuestFailed,
        "The guest said that its boot failed, or its kernel panicked, and the VM is stopped; \
         or a step of an image build failed in its guest; \
         or a guest that runs did not answer what it was asked over ssh, as `banger vm ports` \
         does.",
        "`banger vm logs --why` shows how far the boot came and the lines that tell why, also \
         when the VM was being created and nothing else is left of it.",
    ),
    (
        ErrorCode::Timeout,
        "A wait ran out. The message says what was reached: the VMM, the guest or ssh. The VM \
         is left alone.",
        "look at `banger vm logs`; wait longer with `--timeout`, or wait for less with \
         `--wait guest`. Under software emulation a boot takes several times as long.",
    ),
    (
        ErrorCode::AlreadyRunning,
        "Another daemon serves this state directory. The message names its process.",
        "use that daemon, or stop it first with `banger daemon stop`.",
    ),
    (
        ErrorCode::DaemonUnreachable,
        "The client cannot reach the daemon, or the connection broke.",
        "leave out `--no-autostart` so that the client starts one. If one does not start, its \
         log says why: `bangerd.log` in the state directory.",
    ),
    (
        ErrorCode::VersionMismatch,
        "Client and daemon speak different versions of the API.",
        "install both from the same release and restart the daemon with `banger daemon stop`; \
         VMs go on running.",
    ),
    (
        ErrorCode::Internal,
        "A defect in banger.",
        "report it with the message, the causes and the daemon's log lines that have the \
         error's `op_id`.",
    ),
];

impl ErrorCode {
    /// What the code means.
    pub fn meaning(self) -> &'static str {
        self.entry().1
    }

    /// What its reader can do.
    pub fn remedy(self) -> &'static str {
        self.entry().2
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        let entry = MANUAL.iter().find(|(code, ..)| *code == self);
        entry.expect("a test sees to it that each code has an entry")
    }
}

/// The whole document.
pub fn render_manual() -> String {
    let mut text = INTRODUCTION.to_owned();
    for code in ErrorCode::ALL {
        let meaning = fill(code.meaning());
        let remedy = fill(&format!("**What to do:** {}", code.remedy()));
        text.push_str(&format!("\n## `{code}`\n\n{meaning}\n{remedy}"));
    }
    text
}

/// The words in lines of the document's width.
fn fill(text: &str) -> String {
    let mut lines = String::new();
    let mut column = 0;
    for word in text.split_whitespace() {
        let width = word.chars().count();
        if column > 0 && column + 1 + width > WIDTH {
            lines.push('\n');
            column = 0;
        } else if column > 0 {
            lines.push(' ');
            column += 1;
        }
        lines.push_str(word);
        column += width;
    }
    lines.push('\n');
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_has_a_section_with_a_meaning_and_a_remedy() {
        assert_eq!(MANUAL.map(|(code, ..)| code), ErrorCode::ALL);
        let text = render_manual();
        for code in ErrorCode::ALL {
            assert!(text.contains(&format!("\n## `{code}`\n\n")), "{code}");
            for part in [code.meaning(), code.remedy()] {
                assert!(part.ends_with('.') && !part.contains("  "), "{code}: {part}");
            }
            assert!(code.meaning().starts_with(char::is_uppercase), "{code}");
            assert!(code.remedy().starts_with(|c: char| !c.is_uppercase()), "{code}");
        }
        assert_eq!(text.matches("\n## `").count(), ErrorCode::ALL.len());
    }

    #[test]
    fn no_line_is_wider_than_the_document_and_no_word_is_lost() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for code in ErrorCode::ALL {
            let filled = fill(code.meaning());
            assert_eq!(words(&filled), words(code.meaning()));
            assert!(filled.lines().all(|line| line.chars().count() <= WIDTH), "{filled}");
        }
    }
}
