//! The keys of the configuration file.

use std::fmt;

/// A key of the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Virtual processors of a new VM.
    Vcpu,
    /// Memory of a new VM.
    Memory,
    /// Size of a new VM's root overlay.
    OverlaySize,
    /// Size of a new VM's work disk.
    DiskSize,
    /// Whether a new VM reaches beyond the bridge.
    Nat,
    /// Which VMM runs new VMs.
    Vmm,
    /// How the root disk of a new VM is layered.
    Overlay,
    /// The bridge's name.
    Bridge,
    /// The bridge's address with its prefix.
    Subnet,
    /// Whether guests with NAT reach the host at all its addresses.
    GuestHostAccess,
    /// Name servers for the guests.
    Nameservers,
    /// Where DNS queries are answered.
    DnsListen,
    /// Whom the guests ask for names.
    GuestDns,
    /// How long others may keep a VM's address.
    DnsTtl,
    /// How long others may keep that there is no such name.
    DnsNegativeTtl,
    /// Firecracker's program.
    FirecrackerBin,
    /// QEMU's program.
    QemuBin,
    /// The runtime bundle.
    BundleDir,
    /// The kernel that the bundle's image boots.
    DefaultKernel,
    /// The archive of its modules.
    DefaultInitrd,
    /// Its whole module tree.
    DefaultModulesDir,
    /// The root file system of the bundle's image.
    DefaultRootfs,
    /// The key with which VMs are entered.
    SshKeyPath,
    /// Where metrics are served beside the socket.
    MetricsListen,
    /// What the log holds.
    LogLevel,
}

/// What a key's value looks like in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Count,
    Size,
    Switch,
    Text,
    List,
}

impl Form {
    /// The form in words.
    pub(super) const fn expected(self) -> &'static str {
        match self {
            Self::Count => "a whole number",
            Self::Size => "a size such as `\"512M\"` or a whole number of MiB",
            Self::Switch => "`true` or `false`",
            Self::Text => "a text in quotes",
            Self::List => "`\"auto\"` or a list of texts such as `[\"9.9.9.9\"]`",
        }
    }
}

impl Key {
    /// Every key, in the order of the documentation.
    pub const ALL: [Self; 25] = [
        Self::Vcpu,
        Self::Memory,
        Self::OverlaySize,
        Self::DiskSize,
        Self::Nat,
        Self::Vmm,
        Self::Overlay,
        Self::Bridge,
        Self::Subnet,
        Self::GuestHostAccess,
        Self::Nameservers,
        Self::DnsListen,
        Self::GuestDns,
        Self::DnsTtl,
        Self::DnsNegativeTtl,
        Self::FirecrackerBin,
        Self::QemuBin,
        Self::BundleDir,
        Self::DefaultKernel,
        Self::DefaultInitrd,
        Self::DefaultModulesDir,
        Self::DefaultRootfs,
        Self::SshKeyPath,
        Self::MetricsListen,
        Self::LogLevel,
    ];

    /// The key as it is in the file.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Vcpu => "vcpu",
            Self::Memory => "memory",
            Self::OverlaySize => "overlay_size",
            Self::DiskSize => "disk_size",
            Self::Nat => "nat",
            Self::Vmm => "vmm",
            Self::Overlay => "overlay",
            Self::Bridge => "bridge",
            Self::Subnet => "subnet",
            Self::GuestHostAccess => "guest_host_access",
            Self::Nameservers => "nameservers",
            Self::DnsListen => "dns_listen",
            Self::GuestDns => "guest_dns",
            Self::DnsTtl => "dns_ttl",
            Self::DnsNegativeTtl => "dns_negative_ttl",
            Self::FirecrackerBin => "firecracker_bin",
            Self::QemuBin => "qemu_bin",
            Self::BundleDir => "bundle_dir",
            Self::DefaultKernel => "default_kernel",
            Self::DefaultInitrd => "default_initrd",
            Self::DefaultModulesDir => "default_modules_dir",
            Self::DefaultRootfs => "default_rootfs",
            Self::SshKeyPath => "ssh_key_path",
            Self::MetricsListen => "metrics_listen",
            Self::LogLevel => "log_level",
        }
    }

    /// The environment variable that wins over the file.
    pub fn variable(self) -> String {
        format!("BANGER_{}", self.as_str().to_ascii_uppercase())
    }

    /// The key with this name in the file.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|key| key.as_str() == name)
    }

    /// The key that a misspelt name was meant to be, if one is near enough.
    pub fn nearest(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .map(|key| (strsim::damerau_levenshtein(&name.to_ascii_lowercase(), key.as_str()), key))
            .filter(|(distance, key)| *distance <= 1 + key.as_str().len() / 4)
            .min_by_key(|(distance, _)| *distance)
            .map(|(_, key)| key)
    }

    pub(super) const fn form(self) -> Form {
        match self {
            Self::Vcpu | Self::DnsTtl | Self::DnsNegativeTtl => Form::Count,
            Self::Memory | Self::OverlaySize | Self::DiskSize => Form::Size,
            Self::Nat | Self::GuestHostAccess => Form::Switch,
            Self::Nameservers => Form::List,
            _ => Form::Text,
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
