//! The contract between the host and banger-init: the configuration file that the initrd carries
//! and the stage lines on the console.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::Ipv4Addr;

/// Where banger-init finds its configuration in the initrd.
pub const CONFIG_PATH: &str = "/banger/config.json";
/// Where the initrd lists its modules: one file name below [`MODULES_DIR`] a line, in load order.
pub const MODULES_LIST: &str = "/banger/modules";
/// The directory of the module files in the initrd.
pub const MODULES_DIR: &str = "/banger/modules.d";
/// What every line of banger-init on the console begins with.
pub const STAGE_PREFIX: &str = "banger-init: ";

/// Where Linux looks for an init (`kernel_init` in init/main.c), less the shell: a VM without an
/// init would come up and answer nothing.
pub const USUAL_INITS: [&str; 3] = ["/sbin/init", "/etc/init", "/bin/init"];

/// Everything that banger-init has to know about its VM.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestConfig {
    /// The host name, which is the VM's name.
    pub hostname: String,
    /// 32 lower-case hexadecimal digits, as in machine-id(5).
    pub machine_id: String,
    /// The network interface.
    pub network: GuestNetwork,
    /// Name servers for `/etc/resolv.conf`; the file is left alone when this is empty.
    pub nameservers: Vec<Ipv4Addr>,
    /// Where `/etc/resolv.conf` looks names up that are short; it is written with name servers only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub search: Vec<String>,
    /// Lines for root's `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// The ed25519 host key of sshd.
    pub host_key: HostKey,
    /// The block device of the root file system.
    pub root_device: String,
    /// The work disk, if the VM has one.
    pub work_disk: Option<WorkDisk>,
    /// The program of the image that becomes process 1; empty means the usual search:
    /// `/sbin/init`, `/etc/init`, `/bin/init`, as Linux does.
    pub init: Option<String>,
}

impl fmt::Debug for GuestConfig {
    /// Shows no key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GuestConfig")
            .field("hostname", &self.hostname)
            .field("network", &self.network)
            .finish_non_exhaustive()
    }
}

/// The guest's one network interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuestNetwork {
    /// The hardware address by which the interface is found, as `06:00:ac:10:00:02`.
    pub mac: String,
    /// The interface's address.
    pub address: Ipv4Addr,
    /// The subnet's prefix length in bits.
    pub prefix: u8,
    /// The default route; the host's bridge.
    pub gateway: Ipv4Addr,
}

/// An ssh host key pair, made when the VM is created and kept for its life.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostKey {
    /// The private key in OpenSSH's own PEM form.
    pub private: String,
    /// The public key as one line: `ssh-ed25519 AAAA…`.
    pub public: String,
}

impl fmt::Debug for HostKey {
    /// Shows the public half only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// A second disk that is mounted over a directory of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkDisk {
    /// The block device.
    pub device: String,
    /// The directory that it is mounted on, and filled from when it is empty.
    pub mount_point: String,
}

/// How far the guest has come, in the order in which banger-init passes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// banger-init runs as process 1.
    Start,
    /// The kernel modules are loaded.
    Modules,
    /// The interface is up with its address and default route.
    Network,
    /// The root file system is mounted and grown.
    Root,
    /// The work disk is mounted and filled.
    WorkDisk,
    /// Host name, keys, machine-id and resolver are written.
    Identity,
    /// The image's init is about to take over: the guest is up as far as banger is concerned.
    Handover,
    /// Something failed; the guest powers off.
    Failed,
}

impl Stage {
    /// The stage's word on the console.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Modules => "modules",
            Self::Network => "network",
            Self::Root => "root",
            Self::WorkDisk => "work_disk",
            Self::Identity => "identity",
            Self::Handover => "handover",
            Self::Failed => "failed",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The JSON object after the stage's word.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageDetail {
    /// Milliseconds since the guest kernel started its clock (CLOCK_BOOTTIME).
    pub uptime_ms: u64,
    /// For `start`: the version of banger-init.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// For a stage that was reached: what was left undone on the way, as a disk that does not grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// For `failed`: the stage that was being attempted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<Stage>,
    /// For `failed`: what was attempted and why it failed, one sentence with its causes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One line of banger-init on the console.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageLine {
    /// The stage that was reached.
    pub stage: Stage,
    /// When, and what went wrong if something did.
    pub detail: StageDetail,
}

impl StageLine {
    /// Renders the line, without its line feed.
    pub fn render(&self) -> String {
        let detail = serde_json::to_string(&self.detail).expect("a plain struct serialises");
        format!("{STAGE_PREFIX}{} {detail}", self.stage)
    }

    /// Reads a console line; `None` for a line that is not banger-init's, or is torn.
    ///
    /// A kernel message may stand before the prefix on the same line, when the console was in the
    /// middle of one.
    pub fn parse(line: &str) -> Option<Self> {
        let (_, rest) = line.split_once(STAGE_PREFIX)?;
        let (word, detail) = rest.trim_end().split_once(' ')?;
        let stage = serde_json::from_value(serde_json::Value::from(word)).ok()?;
        // A kernel message can also follow on the same line: read one value and ignore the rest.
        let detail = serde_json::Deserializer::from_str(detail).into_iter().next()?.ok()?;
        Some(Self { stage, detail })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(stage: Stage) -> StageLine {
        StageLine { stage, detail: StageDetail { uptime_ms: 812, ..StageDetail::default() } }
    }

    #[test]
    fn a_stage_line_reads_as_documented() {
        assert_eq!(line(Stage::Handover).render(), "banger-init: handover {\"uptime_ms\":812}");
    }

    #[test]
    fn kernel_messages_around_a_line_do_not_hide_it() {
        let torn = format!("[    0.8] random: {}[    0.9] more\r", line(Stage::Root).render());
        assert_eq!(StageLine::parse(&torn), Some(line(Stage::Root)));
        assert_eq!(StageLine::parse("banger-init: root {\"uptime"), None);
        assert_eq!(StageLine::parse("Debian GNU/Linux 12 otter ttyS0"), None);
    }

    #[test]
    fn debug_output_has_no_private_key() {
        let key = HostKey { private: "SECRET".into(), public: "ssh-ed25519 AAAA".into() };
        assert!(!format!("{key:?}").contains("SECRET"));
    }

    proptest! {
        #[test]
        fn any_console_line_is_read_without_a_panic(text in ".{0,120}") {
            let _outcome = StageLine::parse(&format!("banger-init: {text}"));
        }

        #[test]
        fn a_failure_parses_back(error in ".{0,80}", uptime_ms: u64) {
            let detail = StageDetail {
                uptime_ms,
                during: Some(Stage::Root),
                error: Some(error),
                ..StageDetail::default()
            };
            let line = StageLine { stage: Stage::Failed, detail };
            prop_assert_eq!(StageLine::parse(&line.render()), Some(line));
        }
    }
}
