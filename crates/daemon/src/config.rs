//! The configuration: `config.toml`, the environment over it, and where each value came from.
//!
//! Everything here is pure: the file's text and the environment come in as arguments.
//!
//! Each key can also be given as an environment variable, `BANGER_` and the key in capitals, which
//! wins over the file: `memory` is `BANGER_MEMORY`, `log_level` is `BANGER_LOG_LEVEL`. An empty
//! variable counts as absent.

mod error;
mod key;
mod source;
mod value;

pub use banger_api::LogLevel;
pub use error::{ConfigError, ValueError};
pub use key::Key;
pub use source::{Origin, Source};
pub use value::{GuestDns, Listen, Nameservers, OverlaySetting, VmmSetting};

use banger_api::Setting;
use banger_core::net::Subnet;
use banger_core::plan::BridgeSpec;
use banger_core::resource::HostAccess;
use banger_core::spec::{SpecError, VmSpec};
use banger_dns::Lifetimes;
use banger_engine::OwnKey;
use banger_image::bundle::{BundleSource, NamedBy, Override, Role};
use source::Texts;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};

/// Where DNS queries are answered by default: on a port that needs no privilege and that nobody
/// else uses.
const DEFAULT_DNS: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 42_069));

/// Every setting with its value, after file and environment were read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// What a new VM is given.
    pub defaults: VmSpec,
    /// Which VMM runs new VMs.
    pub vmm: VmmSetting,
    /// How the root disk of a new VM is layered.
    pub overlay: OverlaySetting,
    /// The bridge and its subnet.
    pub bridge: BridgeSpec,
    /// Who knows names that are not ours.
    pub nameservers: Nameservers,
    /// Where DNS queries are answered.
    pub dns_listen: Listen,
    /// Whom the guests ask for names.
    pub guest_dns: GuestDns,
    /// How long others may keep an answer.
    pub dns_lifetimes: Lifetimes,
    /// Firecracker's program, where it is not to be searched for.
    pub firecracker_bin: Option<PathBuf>,
    /// QEMU's program, where it is not to be searched for.
    pub qemu_bin: Option<PathBuf>,
    /// The runtime bundle, where it is not in the state directory.
    pub bundle_dir: Option<PathBuf>,
    /// The parts of the bundle that are elsewhere.
    pub parts: Vec<Override>,
    /// The key with which VMs are entered, where it is not banger's own.
    pub ssh_key: Option<OwnKey>,
    /// Where metrics are served beside the socket.
    pub metrics_listen: Listen,
    /// What the log holds.
    pub log_level: LogLevel,
    origins: Vec<(Key, Origin)>,
}

impl Config {
    /// Reads the configuration file's text, if there is a file, and the environment.
    pub fn read(
        file: Option<&Source>,
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, ConfigError> {
        let mut texts = Texts::default();
        if let Some(file) = file {
            texts.read_file(file)?;
        }
        texts.read_env(env);
        Self::from_texts(&texts)
    }

    fn from_texts(texts: &Texts) -> Result<Self, ConfigError> {
        let builtin = VmSpec::builtin_defaults();
        let defaults = VmSpec {
            vcpu: texts.get(Key::Vcpu, value::vcpu)?.unwrap_or(builtin.vcpu),
            memory: texts.get(Key::Memory, value::size)?.unwrap_or(builtin.memory),
            overlay: texts.get(Key::OverlaySize, value::size)?.unwrap_or(builtin.overlay),
            work_disk: texts.get(Key::DiskSize, value::size)?.unwrap_or(builtin.work_disk),
            nat: texts.get(Key::Nat, value::switch)?.unwrap_or(builtin.nat),
        };
        defaults.check().map_err(|source| refuse_spec(texts, source))?;
        let bridge = BridgeSpec {
            name: texts.get(Key::Bridge, value::interface)?.unwrap_or_else(default_bridge),
            subnet: texts.get(Key::Subnet, value::subnet)?.unwrap_or_else(default_subnet),
            host_access: texts
                .get(Key::GuestHostAccess, value::host_access)?
                .unwrap_or(HostAccess::Gateway),
            // The port is found when the daemon listens.
            dns_port: None,
        };
        Ok(Self {
            defaults,
            bridge,
            vmm: texts.get(Key::Vmm, value::vmm)?.unwrap_or(VmmSetting::Auto),
            overlay: texts.get(Key::Overlay, value::overlay)?.unwrap_or(OverlaySetting::Auto),
            nameservers: texts
                .get(Key::Nameservers, value::nameservers)?
                .unwrap_or(Nameservers::Auto),
            dns_listen: texts
                .get(Key::DnsListen, value::listen)?
                .unwrap_or(Listen::At(DEFAULT_DNS)),
            guest_dns: texts.get(Key::GuestDns, value::guest_dns)?.unwrap_or(GuestDns::Auto),
            dns_lifetimes: Lifetimes {
                positive: texts.get(Key::DnsTtl, value::ttl)?.unwrap_or(5),
                negative: texts.get(Key::DnsNegativeTtl, value::ttl)?.unwrap_or(0),
            },
            firecracker_bin: texts.get(Key::FirecrackerBin, value::path)?,
            qemu_bin: texts.get(Key::QemuBin, value::path)?,
            bundle_dir: texts.get(Key::BundleDir, value::path)?,
            parts: parts(texts)?,
            ssh_key: texts.get(Key::SshKeyPath, value::path)?.map(|path| {
                let origin = texts.origin(Key::SshKeyPath).to_string();
                OwnKey { path, origin }
            }),
            metrics_listen: texts
                .get(Key::MetricsListen, value::listen_on_loopback)?
                .unwrap_or(Listen::Off),
            log_level: texts.get(Key::LogLevel, value::log_level)?.unwrap_or(LogLevel::Info),
            origins: texts.origins(),
        })
    }

    /// Each setting with its value and where it came from, in the order of the documentation.
    pub fn settings(&self) -> Vec<Setting> {
        Key::ALL
            .into_iter()
            .map(|key| Setting {
                key: key.as_str().to_owned(),
                value: self.render(key),
                source: self.origin(key).name(),
                line: self.origin(key).line(),
            })
            .collect()
    }

    /// Where a setting came from.
    pub fn origin(&self, key: Key) -> Origin {
        let known = self.origins.iter().find(|(other, _)| *other == key);
        known.map_or(Origin::Default, |(_, origin)| origin.clone())
    }

    /// Where the runtime bundle is when it is in a state directory, unless it is elsewhere.
    pub fn bundle(&self, state_dir: &Path) -> BundleSource {
        let overrides = self.parts.clone();
        let Some(dir) = &self.bundle_dir else {
            return BundleSource { overrides, ..BundleSource::at(state_dir.join("bundle")) };
        };
        let (key, origin) = (Key::BundleDir, self.origin(Key::BundleDir).to_string());
        let named_by = Some(NamedBy::Setting { key: key.as_str(), origin });
        BundleSource { dir: dir.clone(), named_by, overrides }
    }

    fn render(&self, key: Key) -> String {
        let path = |path: &Option<PathBuf>, otherwise: &str| match path {
            Some(path) => path.display().to_string(),
            None => otherwise.to_owned(),
        };
        match key {
            Key::Vcpu => self.defaults.vcpu.to_string(),
            Key::Memory => self.defaults.memory.to_string(),
            Key::OverlaySize => self.defaults.overlay.to_string(),
            Key::DiskSize => self.defaults.work_disk.to_string(),
            Key::Nat => self.defaults.nat.to_string(),
            Key::Vmm => self.vmm.as_str().to_owned(),
            Key::Overlay => self.overlay.as_str().to_owned(),
            Key::Bridge => self.bridge.name.to_string(),
            Key::Subnet => self.bridge.subnet.to_string(),
            Key::GuestHostAccess => (self.bridge.host_access == HostAccess::Any).to_string(),
            Key::Nameservers => self.nameservers.to_string(),
            Key::DnsListen => self.dns_listen.to_string(),
            Key::GuestDns => self.guest_dns.to_string(),
            Key::DnsTtl => self.dns_lifetimes.positive.to_string(),
            Key::DnsNegativeTtl => self.dns_lifetimes.negative.to_string(),
            Key::FirecrackerBin => path(&self.firecracker_bin, "searched for"),
            Key::QemuBin => path(&self.qemu_bin, "searched for"),
            Key::BundleDir => path(&self.bundle_dir, "in the state directory"),
            Key::DefaultKernel
            | Key::DefaultInitrd
            | Key::DefaultModulesDir
            | Key::DefaultRootfs => {
                let given = self.parts.iter().find(|part| part.key == key.as_str());
                path(&given.map(|part| part.path.clone()), "the bundle's")
            }
            Key::SshKeyPath => {
                path(&self.ssh_key.as_ref().map(|key| key.path.clone()), "in the state directory")
            }
            Key::MetricsListen => self.metrics_listen.to_string(),
            Key::LogLevel => self.log_level.as_str().to_owned(),
        }
    }
}

/// The parts of the bundle that keys name.
fn parts(texts: &Texts) -> Result<Vec<Override>, ConfigError> {
    let keys = [
        (Key::DefaultKernel, Role::Kernel),
        (Key::DefaultInitrd, Role::Initrd),
        (Key::DefaultModulesDir, Role::Modules),
        (Key::DefaultRootfs, Role::Rootfs),
    ];
    let mut parts = Vec::new();
    for (key, role) in keys {
        let origin = texts.origin(key).to_string();
        let path = texts.get(key, value::path)?;
        parts.extend(path.map(|path| Override { role, path, key: key.as_str(), origin }));
    }
    Ok(parts)
}

/// Names the key whose value, given or not, leads to the error.
fn refuse_spec(texts: &Texts, source: SpecError) -> ConfigError {
    let key =
        match &source {
            SpecError::Memory { .. } => Key::Memory,
            SpecError::Disk { disk, .. } | SpecError::Shrink { disk, .. } => {
                if *disk == "work disk" { Key::DiskSize } else { Key::OverlaySize }
            }
        };
    ConfigError::Value { key, origin: texts.origin(key), source: ValueError::Spec(source) }
}

fn default_bridge() -> banger_core::names::IfName {
    "banger0".to_owned().try_into().expect("a short plain name")
}

fn default_subnet() -> Subnet {
    Subnet::new(Ipv4Addr::new(172, 16, 0, 1), 24).expect("a private /24")
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_api::ErrorBody;
    use banger_core::vm::VmmKind;
    use std::fmt::Write;

    fn read(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let file = Source { path: "/etc/b/config.toml".into(), text: text.to_owned() };
        let lookup = |name: &str| {
            env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        Config::read(Some(&file), lookup)
    }

    #[test]
    fn every_key_is_in_the_documentation() {
        let documentation = include_str!("../../../docs/configuration.md");
        let lines: Vec<&str> =
            documentation.lines().filter(|line| line.starts_with("| `")).collect();
        let keys: Vec<&str> = lines.iter().filter_map(|line| line.split('`').nth(1)).collect();
        assert_eq!(keys, Key::ALL.map(Key::as_str));
    }

    /// The error as the daemon prints it.
    fn refusal(text: &str, env: &[(&str, &str)]) -> String {
        let body = ErrorBody::of(&read(text, env).unwrap_err());
        let mut shown = format!("{}: {}\n", body.code, body.message);
        for cause in body.causes {
            writeln!(shown, "caused by: {cause}").unwrap();
        }
        for hint in body.hints {
            writeln!(shown, "hint: {hint}").unwrap();
        }
        shown
    }

    #[test]
    fn without_a_file_the_defaults_hold_and_say_so() {
        let config = Config::read(None, |_| None).unwrap();
        assert_eq!(config.defaults, VmSpec::builtin_defaults());
        let shown: Vec<String> = config
            .settings()
            .iter()
            .map(|setting| format!("{} = {} ({})", setting.key, setting.value, setting.source))
            .collect();
        insta::assert_snapshot!(shown.join("\n"), @r"
        vcpu = 2 (default)
        memory = 1 GiB (default)
        overlay_size = 8 GiB (default)
        disk_size = 8 GiB (default)
        nat = true (default)
        vmm = auto (default)
        overlay = auto (default)
        bridge = banger0 (default)
        subnet = 172.16.0.1/24 (default)
        guest_host_access = false (default)
        nameservers = auto (default)
        dns_listen = 127.0.0.1:42069 (default)
        guest_dns = auto (default)
        dns_ttl = 5 (default)
        dns_negative_ttl = 0 (default)
        firecracker_bin = searched for (default)
        qemu_bin = searched for (default)
        bundle_dir = in the state directory (default)
        default_kernel = the bundle's (default)
        default_initrd = the bundle's (default)
        default_modules_dir = the bundle's (default)
        default_rootfs = the bundle's (default)
        ssh_key_path = in the state directory (default)
        metrics_listen = off (default)
        log_level = info (default)
        ");
    }

    #[test]
    fn every_key_can_be_given_in_the_file() {
        let config = read(
            r#"
                vcpu = 4
                memory = "2G"
                overlay_size = 4096
                disk_size = "16GiB"
                nat = false
                vmm = "qemu"
                overlay = "dm-snapshot"
                bridge = "br-test"
                subnet = "10.9.0.1/16"
                guest_host_access = true
                nameservers = ["1.1.1.1", "9.9.9.9"]
                dns_listen = "127.0.0.1:5300"
                guest_dns = "172.16.0.1"
                dns_ttl = 60
                dns_negative_ttl = 1
                firecracker_bin = "/opt/fc"
                qemu_bin = "/opt/qemu"
                bundle_dir = "/opt/bundle"
                default_kernel = "/opt/vmlinux"
                default_initrd = "/opt/initrd"
                default_modules_dir = "/opt/modules"
                default_rootfs = "/opt/rootfs.ext4"
                ssh_key_path = "/home/u/.ssh/id_ed25519"
                metrics_listen = "127.0.0.1:9469"
                log_level = "debug"
            "#,
            &[],
        )
        .unwrap();
        let settings = config.settings();
        assert!(settings.iter().all(|setting| setting.source == "/etc/b/config.toml"));
        assert_eq!(settings[1].origin(), "/etc/b/config.toml:3");
        let values: Vec<&str> = settings.iter().map(|setting| setting.value.as_str()).collect();
        assert_eq!(
            values,
            [
                "4",
                "2 GiB",
                "4 GiB",
                "16 GiB",
                "false",
                "qemu",
                "dm-snapshot",
                "br-test",
                "10.9.0.1/16",
                "true",
                "1.1.1.1, 9.9.9.9",
                "127.0.0.1:5300",
                "172.16.0.1",
                "60",
                "1",
                "/opt/fc",
                "/opt/qemu",
                "/opt/bundle",
                "/opt/vmlinux",
                "/opt/initrd",
                "/opt/modules",
                "/opt/rootfs.ext4",
                "/home/u/.ssh/id_ed25519",
                "127.0.0.1:9469",
                "debug"
            ]
        );
    }

    #[test]
    fn the_environment_wins_over_the_file_and_an_empty_variable_is_none() {
        let config =
            read("vmm = \"firecracker\"\nvcpu = 3", &[("BANGER_VMM", "qemu"), ("BANGER_VCPU", "")])
                .unwrap();
        assert_eq!(config.vmm, VmmSetting::Only(VmmKind::Qemu));
        assert_eq!(config.origin(Key::Vmm).name(), "BANGER_VMM");
        assert_eq!(config.defaults.vcpu.get(), 3);
        assert_eq!(config.origin(Key::Vcpu).name(), "/etc/b/config.toml");
    }

    #[test]
    fn an_overridden_value_in_the_file_is_checked_all_the_same() {
        let shown = refusal("memory = \"lots\"", &[("BANGER_MEMORY", "2G")]);
        assert!(shown.contains("line 1 of"), "{shown}");
    }

    #[test]
    fn an_unknown_key_names_the_nearest_one() {
        insta::assert_snapshot!(refusal("vcpu = 2\nmemroy = 512\n", &[]), @r"
        invalid_config: unknown key `memroy` in line 2 of `/etc/b/config.toml`
        hint: did you mean `memory`?
        ");
        insta::assert_snapshot!(refusal("[vm]\nmemory = 512\n", &[]), @r"
        invalid_config: unknown key `vm` in line 1 of `/etc/b/config.toml`
        hint: did you mean `vmm`?
        ");
        insta::assert_snapshot!(refusal("colour = \"red\"", &[]), @r"
        invalid_config: unknown key `colour` in line 1 of `/etc/b/config.toml`
        hint: the known keys are `vcpu`, `memory`, `overlay_size`, `disk_size`, `nat`, `vmm`, `overlay`, `bridge`, `subnet`, `guest_host_access`, `nameservers`, `dns_listen`, `guest_dns`, `dns_ttl`, `dns_negative_ttl`, `firecracker_bin`, `qemu_bin`, `bundle_dir`, `default_kernel`, `default_initrd`, `default_modules_dir`, `default_rootfs`, `ssh_key_path`, `metrics_listen`, `log_level`
        ");
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_line() {
        insta::assert_snapshot!(refusal("vcpu = 2\nmemory = \n", &[]), @"invalid_config: `/etc/b/config.toml` is not valid TOML in line 2: string values must be quoted, expected literal string");
        insta::assert_snapshot!(refusal("vcpu = 2\nvcpu = 3\n", &[]), @"invalid_config: `/etc/b/config.toml` is not valid TOML in line 2: duplicate key");
    }

    #[test]
    fn a_value_of_the_wrong_type_says_which_is_right() {
        insta::assert_snapshot!(refusal("nat = \"yes\"", &[]), @"invalid_config: `nat` in line 1 of `/etc/b/config.toml` is a text, and must be `true` or `false`");
        insta::assert_snapshot!(refusal("vcpu = \"2\"", &[]), @"invalid_config: `vcpu` in line 1 of `/etc/b/config.toml` is a text, and must be a whole number");
        insta::assert_snapshot!(refusal("memory = 1.5", &[]), @r#"invalid_config: `memory` in line 1 of `/etc/b/config.toml` is a number with a fraction, and must be a size such as `"512M"` or a whole number of MiB"#);
        insta::assert_snapshot!(refusal("nameservers = [53]", &[]), @r#"invalid_config: `nameservers` in line 1 of `/etc/b/config.toml` is a list, and must be `"auto"` or a list of texts such as `["9.9.9.9"]`"#);
    }

    #[test]
    fn a_value_that_cannot_be_says_why() {
        let mut all = String::new();
        for (text, env) in [
            ("vcpu = 0", vec![]),
            ("vcpu = -1", vec![]),
            ("memory = 0", vec![]),
            ("memory = \"8 GB\"", vec![]),
            ("memory = 64", vec![]),
            ("disk_size = \"129G\"", vec![]),
            ("overlay_size = 1", vec![]),
            ("vmm = \"xen\"", vec![]),
            ("overlay = \"btrfs\"", vec![]),
            ("bridge = \"a bridge\"", vec![]),
            ("subnet = \"172.16.0.0/24\"", vec![]),
            ("nameservers = [\"::1\"]", vec![]),
            ("dns_listen = \"127.0.0.1\"", vec![]),
            ("guest_dns = \"::1\"", vec![]),
            ("dns_ttl = 100000", vec![]),
            ("qemu_bin = \"bin/qemu\"", vec![]),
            ("metrics_listen = \"0.0.0.0:9469\"", vec![]),
            ("log_level = \"loud\"", vec![]),
            ("", vec![("BANGER_NAT", "maybe")]),
            ("", vec![("BANGER_VCPU", "many")]),
        ] {
            writeln!(all, "{}", refusal(text, &env)).unwrap();
        }
        insta::assert_snapshot!(all, @r"
        invalid_config: cannot use the value of `vcpu` in line 1 of `/etc/b/config.toml`
        caused by: 0 vCPUs cannot be had; give 1 to 32

        invalid_config: cannot use the value of `vcpu` in line 1 of `/etc/b/config.toml`
        caused by: `-1` is not a whole number from 0

        invalid_config: cannot use the value of `memory` in line 1 of `/etc/b/config.toml`
        caused by: a size must be at least 1 MiB

        invalid_config: cannot use the value of `memory` in line 1 of `/etc/b/config.toml`
        caused by: `8 GB` is not a size; write it as `512M`, `512MiB`, `8G`, `8GiB`, or a bare number of MiB

        invalid_config: cannot use the value of `memory` in line 1 of `/etc/b/config.toml`
        caused by: 64 MiB of memory is too little; give at least 128 MiB

        invalid_config: cannot use the value of `disk_size` in line 1 of `/etc/b/config.toml`
        caused by: a work disk of 129 GiB cannot be had; give 16 MiB to 128 GiB

        invalid_config: cannot use the value of `overlay_size` in line 1 of `/etc/b/config.toml`
        caused by: a root overlay of 1 MiB cannot be had; give 16 MiB to 128 GiB

        invalid_config: cannot use the value of `vmm` in line 1 of `/etc/b/config.toml`
        caused by: `xen` is none of `auto`, `firecracker`, `qemu`

        invalid_config: cannot use the value of `overlay` in line 1 of `/etc/b/config.toml`
        caused by: `btrfs` is none of `auto`, `reflink`, `dm-snapshot`, `copy`

        invalid_config: cannot use the value of `bridge` in line 1 of `/etc/b/config.toml`
        caused by: `a bridge` cannot name an interface; use 1 to 15 of a-z, A-Z, 0-9, `-`, `_` and `.`

        invalid_config: cannot use the value of `subnet` in line 1 of `/etc/b/config.toml`
        caused by: `172.16.0.0` cannot be the bridge's own address

        invalid_config: cannot use the value of `nameservers` in line 1 of `/etc/b/config.toml`
        caused by: `::1` is not an IPv4 address

        invalid_config: cannot use the value of `dns_listen` in line 1 of `/etc/b/config.toml`
        caused by: `127.0.0.1` is not `off` nor an address with a port, such as `127.0.0.1:42069`

        invalid_config: cannot use the value of `guest_dns` in line 1 of `/etc/b/config.toml`
        caused by: `::1` is none of `auto`, `off` and an IPv4 address

        invalid_config: cannot use the value of `dns_ttl` in line 1 of `/etc/b/config.toml`
        caused by: `100000` is not a number of seconds from 0 to 86400

        invalid_config: cannot use the value of `qemu_bin` in line 1 of `/etc/b/config.toml`
        caused by: `bin/qemu` is not an absolute path

        invalid_config: cannot use the value of `metrics_listen` in line 1 of `/etc/b/config.toml`
        caused by: `0.0.0.0:9469` is not an address of this machine alone, such as `127.0.0.1:9469`

        invalid_config: cannot use the value of `log_level` in line 1 of `/etc/b/config.toml`
        caused by: `loud` is none of `error`, `warn`, `info`, `debug`, `trace`

        invalid_config: cannot use the value of `nat` in the environment variable `BANGER_NAT`
        caused by: `maybe` is none of `true`, `false`

        invalid_config: cannot use the value of `vcpu` in the environment variable `BANGER_VCPU`
        caused by: `many` is not a whole number from 0
        ");
    }
}
