//! Which family of distributions the host is of, and what its packages are called.

use std::fs;
use std::path::Path;

/// A family of distributions, whose packages have the same names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distribution {
    /// Debian, Ubuntu and what is made from them.
    Debian,
    /// Fedora and what is made from it.
    Fedora,
    /// Arch and what is made from it.
    Arch,
    /// Another, or one that does not say.
    Other,
}

/// Programs with their packages: Debian's, Fedora's, Arch's.
const PACKAGES: [(&str, [&str; 3]); 5] = [
    ("dmsetup", ["dmsetup", "device-mapper", "device-mapper"]),
    ("mke2fs", ["e2fsprogs", "e2fsprogs", "e2fsprogs"]),
    ("nft", ["nftables", "nftables", "nftables"]),
    ("qemu-system-x86_64", ["qemu-system-x86", "qemu-system-x86-core", "qemu-system-x86"]),
    ("ssh", ["openssh-client", "openssh-clients", "openssh"]),
];

impl Distribution {
    /// This host's, from os-release(5).
    pub fn of_this_host() -> Self {
        let places = ["/etc/os-release", "/usr/lib/os-release"];
        let text = places.into_iter().find_map(|path| fs::read_to_string(path).ok());
        text.map_or(Self::Other, |text| Self::read(&text))
    }

    /// Reads os-release: `ID` says it, else what `ID_LIKE` names first of the known ones.
    pub fn read(os_release: &str) -> Self {
        let field = |key: &str| {
            let line =
                os_release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned()
        };
        let words = format!("{} {}", field("ID"), field("ID_LIKE"));
        let known = words.split_whitespace().find_map(|word| match word {
            "debian" | "ubuntu" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "arch" | "archarm" => Some(Self::Arch),
            _ => None,
        });
        known.unwrap_or(Self::Other)
    }

    /// How to install what has the program, as a clause. It can be pasted where the package is
    /// known.
    pub fn install(self, program: &Path) -> String {
        let name = program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some((_, [debian, fedora, arch])) = PACKAGES.iter().find(|(known, _)| *known == name)
        else {
            return format!("install `{name}`");
        };
        match self {
            Self::Debian => format!("install it with `apt install {debian}`"),
            Self::Fedora => format!("install it with `dnf install {fedora}`"),
            Self::Arch => format!("install it with `pacman -S {arch}`"),
            Self::Other => format!("install the package that has `{name}`"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_family_is_told_by_id_and_then_by_what_it_is_like() {
        for (text, family) in [
            ("PRETTY_NAME=\"Debian\"\nID=debian\nVERSION_ID=\"12\"\n", Distribution::Debian),
            ("ID=ubuntu\nID_LIKE=debian\n", Distribution::Debian),
            ("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\n", Distribution::Debian),
            ("ID=fedora\n", Distribution::Fedora),
            ("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n", Distribution::Fedora),
            ("ID=arch\n", Distribution::Arch),
            ("ID=manjaro\nID_LIKE=arch\n", Distribution::Arch),
            ("ID=nixos\n", Distribution::Other),
            ("", Distribution::Other),
        ] {
            assert_eq!(Distribution::read(text), family, "{text:?}");
        }
    }

    #[test]
    fn each_family_has_its_own_command() {
        let qemu = Path::new("/usr/bin/qemu-system-x86_64");
        let said: Vec<String> =
            [Distribution::Debian, Distribution::Fedora, Distribution::Arch, Distribution::Other]
                .map(|family| family.install(qemu))
                .into();
        assert_eq!(
            said,
            [
                "install it with `apt install qemu-system-x86`",
                "install it with `dnf install qemu-system-x86-core`",
                "install it with `pacman -S qemu-system-x86`",
                "install the package that has `qemu-system-x86_64`",
            ]
        );
        assert_eq!(Distribution::Debian.install(Path::new("x/otter")), "install `otter`");
    }
}
