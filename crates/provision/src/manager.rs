//! Package managers: what each is told, and how what it says is read.

use crate::call::Call;
use crate::list::PackageList;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For fetching lists and packages over a slow line, and unpacking them in a slow guest.
const LONG: Duration = Duration::from_secs(3600);

/// A package manager that banger can use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PackageManager {
    /// Debian and what comes from it.
    Apt,
    /// Alpine.
    Apk,
    /// Fedora and what comes with it.
    Dnf,
    /// Arch.
    Pacman,
}

/// A package that is installed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Installed {
    /// Its name.
    pub name: String,
    /// Its version, with all that belongs to it.
    pub version: String,
    /// The architecture that it is for, in the manager's word.
    pub architecture: String,
}

/// Options for all of apt's work. Nobody is there to answer questions: a changed configuration file
/// stays as it is; a list that cannot be fetched is an error and no warning (apt 2.1.16 and later).
const APT: [&str; 12] = [
    "-q",
    "-o",
    "Dpkg::Use-Pty=0",
    "-o",
    "Dpkg::Options::=--force-confdef",
    "-o",
    "Dpkg::Options::=--force-confold",
    "-o",
    "APT::Update::Error-Mode=any",
    "-o",
    "DPkg::Lock::Timeout=120",
    "--yes",
];

/// The fields of a row of `dpkg-query` and `rpm`.
const DPKG_ROW: &str = "${Package}\\t${Version}\\t${Architecture}\\t${db:Status-Status}\\n";
const RPM_ROW: &str = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\n";

impl PackageManager {
    /// Each, in the order in which they are looked for.
    pub const ALL: [Self; 4] = [Self::Apt, Self::Apk, Self::Dnf, Self::Pacman];

    /// Its program.
    pub const fn program(self) -> &'static str {
        match self {
            Self::Apt => "apt-get",
            Self::Apk => "apk",
            Self::Dnf => "dnf",
            Self::Pacman => "pacman",
        }
    }

    /// The type of a package URL (purl) for its packages.
    pub const fn purl_type(self) -> &'static str {
        match self {
            Self::Apt => "deb",
            Self::Apk => "apk",
            Self::Dnf => "rpm",
            Self::Pacman => "alpm",
        }
    }

    /// Succeeds in a guest that has it.
    pub fn probe(self) -> Call {
        Call::new([self.program(), "--version"]).kept()
    }

    /// Brings its lists up to date.
    pub fn refresh(self) -> Call {
        match self {
            Self::Apt => apt(&["update"]),
            Self::Apk => long(&["apk", "update"]),
            Self::Dnf => long(&["dnf", "makecache"]),
            Self::Pacman => long(&["pacman", "-Sy", "--noconfirm"]),
        }
    }

    /// Installs packages with what they depend on, and nothing that they only recommend.
    pub fn install(self, list: &PackageList) -> Call {
        let names = match self {
            // The only one in whose archives names have capitals.
            Self::Dnf => list.as_written(),
            Self::Apt | Self::Apk | Self::Pacman => list.normalised(),
        };
        let mut call = match self {
            Self::Apt => apt(&["install", "--no-install-recommends"]),
            Self::Apk => long(&["apk", "add"]),
            Self::Dnf => long(&["dnf", "install", "-y", "--setopt=install_weak_deps=False"]),
            Self::Pacman => long(&["pacman", "-S", "--noconfirm", "--needed"]),
        };
        call.argv.extend(names);
        call
    }

    /// Lists what is installed.
    pub fn query(self) -> Call {
        let argv: &[&str] = match self {
            Self::Apt => &["dpkg-query", "--show", "--showformat", DPKG_ROW],
            Self::Apk => &["apk", "list", "--installed"],
            Self::Dnf => &["rpm", "--query", "--all", "--queryformat", RPM_ROW],
            Self::Pacman => &["pacman", "-Qi"],
        };
        Call::new(argv.iter().copied()).kept()
    }

    /// Reads what the query printed: each package, sorted.
    pub fn parse(self, printed: &str) -> Vec<Installed> {
        let mut all: Vec<Installed> = match self {
            Self::Apt | Self::Dnf => printed.lines().filter_map(row).collect(),
            Self::Apk => printed.lines().filter_map(apk_row).collect(),
            Self::Pacman => printed.split("\n\n").filter_map(pacman_paragraph).collect(),
        };
        all.sort();
        all.dedup();
        all
    }

    /// Removes what it keeps of its own work: packages, and lists of packages.
    pub fn clean(self) -> Vec<Call> {
        match self {
            Self::Apt => vec![
                Call::new(["apt-get", "clean"]),
                Call::new([
                    "find",
                    "/var/lib/apt/lists",
                    "-mindepth",
                    "1",
                    "-type",
                    "f",
                    "-delete",
                ]),
            ],
            Self::Apk => vec![Call::new(["find", "/var/cache/apk", "-type", "f", "-delete"])],
            Self::Dnf => vec![Call::new(["dnf", "clean", "all"])],
            Self::Pacman => {
                vec![Call::new(["find", "/var/cache/pacman/pkg", "-type", "f", "-delete"])]
            }
        }
    }
}

fn apt(verb: &[&str]) -> Call {
    let argv = ["apt-get"].into_iter().chain(APT).chain(verb.iter().copied());
    Call::new(argv).env("DEBIAN_FRONTEND", "noninteractive").limit(LONG)
}

fn long(argv: &[&str]) -> Call {
    Call::new(argv.iter().copied()).limit(LONG)
}

/// A row with tabs. What dpkg has a fourth field for is only installed if that says so.
fn row(line: &str) -> Option<Installed> {
    let fields: Vec<&str> = line.split('\t').collect();
    match fields[..] {
        [name, version, architecture] | [name, version, architecture, "installed"] => {
            // The keys that rpm trusts are listed as if they were packages.
            (name != "gpg-pubkey").then(|| installed(name, version, architecture))
        }
        _ => None,
    }
}

/// `busybox-1.36.1-r29 x86_64 {busybox} (GPL-2.0-only) [installed]`.
fn apk_row(line: &str) -> Option<Installed> {
    let mut words = line.split_ascii_whitespace();
    let (package, architecture) = (words.next()?, words.next()?);
    // The version is what comes after the last dash but one: its own release follows the last.
    let (rest, release) = package.rsplit_once('-')?;
    let (name, version) = rest.rsplit_once('-')?;
    Some(installed(name, &format!("{version}-{release}"), architecture))
}

fn pacman_paragraph(paragraph: &str) -> Option<Installed> {
    let field = |wanted: &str| {
        let mut lines = paragraph.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(name, _)| name.trim() == wanted).map(|(_, value)| value.trim())
    };
    Some(installed(field("Name")?, field("Version")?, field("Architecture")?))
}

fn installed(name: &str, version: &str, architecture: &str) -> Installed {
    Installed {
        name: name.to_owned(),
        version: version.to_owned(),
        architecture: architecture.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(packages: &[Installed]) -> Vec<String> {
        packages.iter().map(|p| format!("{} {} {}", p.name, p.version, p.architecture)).collect()
    }

    #[test]
    fn what_is_installed_is_read_from_each() {
        let dpkg = "udev\t252.39-1~deb12u1\tamd64\tinstalled\n\
                    gone\t1\tall\tconfig-files\nadduser\t3.134\tall\tinstalled\n";
        assert_eq!(
            shown(&PackageManager::Apt.parse(dpkg)),
            ["adduser 3.134 all", "udev 252.39-1~deb12u1 amd64"]
        );
        let rpm = "bash\t5.2.26-3.fc40\tx86_64\ngpg-pubkey\ta15b79cc-63d04c2c\t(none)\n\
                   shadow-utils\t2:4.15.1-3.fc40\tx86_64\n";
        assert_eq!(
            shown(&PackageManager::Dnf.parse(rpm)),
            ["bash 5.2.26-3.fc40 x86_64", "shadow-utils 2:4.15.1-3.fc40 x86_64"]
        );
        let apk = "busybox-1.36.1-r29 x86_64 {busybox} (GPL-2.0-only) [installed]\n\
                   alpine-baselayout-data-3.6.5-r0 x86_64 {alpine-baselayout} (GPL) [installed]\n";
        assert_eq!(
            shown(&PackageManager::Apk.parse(apk)),
            ["alpine-baselayout-data 3.6.5-r0 x86_64", "busybox 1.36.1-r29 x86_64"]
        );
        let pacman = "Name            : bash\nVersion         : 5.2.026-2\n\
                      Architecture    : x86_64\nURL : https://x\n\n\
                      Name : acl\nVersion : 2.3.2-1\nArchitecture : x86_64\n";
        assert_eq!(
            shown(&PackageManager::Pacman.parse(pacman)),
            ["acl 2.3.2-1 x86_64", "bash 5.2.026-2 x86_64"]
        );
    }

    #[test]
    fn what_each_is_told() {
        let list = PackageList::parse("NetworkManager curl").unwrap();
        let install: Vec<_> =
            PackageManager::ALL.iter().map(|manager| manager.install(&list).shown()).collect();
        insta::assert_debug_snapshot!(install, @r#"
        [
            "apt-get -q -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold -o APT::Update::Error-Mode=any -o DPkg::Lock::Timeout=120 --yes install --no-install-recommends curl networkmanager",
            "apk add curl networkmanager",
            "dnf install -y --setopt=install_weak_deps=False curl NetworkManager",
            "pacman -S --noconfirm --needed curl networkmanager",
        ]
        "#);
        for manager in PackageManager::ALL {
            for call in [manager.refresh(), manager.install(&list)] {
                assert_eq!(call.argv()[0], manager.program());
            }
        }
        assert_eq!(
            PackageManager::Apt.refresh().env,
            [("DEBIAN_FRONTEND".to_owned(), "noninteractive".to_owned())]
        );
    }

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(text in "[a-z0-9:.\\-\t\n{}()\\[\\] ]{0,200}") {
            for manager in PackageManager::ALL {
                let read = manager.parse(&text);
                prop_assert!(read.is_sorted());
            }
        }
    }
}
