//! Rules about the crates' manifests.

use super::Finding;
use super::source::{File, Source};
use toml::{Table, Value};

/// Which of banger's crates each may use. `ARCHITECTURE.md` says why.
const MAY_USE: [(&str, &[&str]); 14] = [
    ("banger-core", &[]),
    ("banger-api", &["banger-core"]),
    ("banger-dns", &["banger-core"]),
    ("banger-guest", &["banger-core"]),
    ("banger-host", &["banger-core"]),
    ("banger-provision", &["banger-core"]),
    ("banger-vmm", &["banger-core"]),
    ("banger-image", &["banger-core", "banger-host"]),
    (
        "banger-engine",
        &["banger-core", "banger-host", "banger-image", "banger-provision", "banger-vmm"],
    ),
    (
        "banger-daemon",
        &[
            "banger-api",
            "banger-core",
            "banger-dns",
            "banger-engine",
            "banger-host",
            "banger-image",
            "banger-provision",
            "banger-vmm",
        ],
    ),
    ("banger-cli", &["banger-api", "banger-core"]),
    ("banger-e2e", &[]),
    ("banger-fuzz", &["banger-core", "banger-dns", "banger-image", "banger-provision"]),
    ("xtask", &[]),
];

pub(super) fn without_lints(source: &Source) -> Vec<Finding> {
    each(source, |file, table| match table.get("lints").and_then(|lints| lints.get("workspace")) {
        Some(Value::Boolean(true)) => Vec::new(),
        _ => vec![Finding::new(&file.path, "does not take the workspace's lints")],
    })
}

pub(super) fn own_versions(source: &Source) -> Vec<Finding> {
    let mut findings = each(source, |file, table| {
        let is_shared =
            |value: &Value| value.get("workspace").is_some_and(|it| it.as_bool() == Some(true));
        dependencies(table)
            .filter(|(_, value)| !is_shared(value))
            .map(|(name, _)| Finding::new(&file.path, format!("gives `{name}` a version")))
            .collect()
    });
    // The parsed table is sorted, so the order has to be seen in the text.
    if let Some(file) = source.file("Cargo.toml") {
        let section = file.text.split("[workspace.dependencies]\n").nth(1).unwrap_or_default();
        let section = section.split("\n[").next().unwrap_or_default();
        let names = section.lines().filter_map(|line| line.split_once(" = "));
        let names: Vec<&str> = names.map(|(name, _)| name).collect();
        let unsorted = names.windows(2).filter(|pair| pair[0] > pair[1]);
        findings.extend(unsorted.map(|pair| {
            Finding::new(&file.path, format!("has `{}` before `{}`", pair[0], pair[1]))
        }));
    }
    findings
}

pub(super) fn forbidden_dependencies(source: &Source) -> Vec<Finding> {
    each(source, |file, table| {
        let name = table.get("package").and_then(|package| package.get("name"));
        let name = name.and_then(Value::as_str).unwrap_or_default();
        let Some((_, allowed)) = MAY_USE.iter().find(|(known, _)| *known == name) else {
            return vec![Finding::new(&file.path, format!("`{name}` is not in the table"))];
        };
        // What tests use makes no hole in the product.
        let own = table.get("dependencies").and_then(Value::as_table);
        own.into_iter()
            .flatten()
            .filter(|(dependency, _)| {
                dependency.starts_with("banger-") && !allowed.contains(&dependency.as_str())
            })
            .map(|(dependency, _)| {
                Finding::new(&file.path, format!("`{name}` may not use `{dependency}`"))
            })
            .collect()
    })
}

fn each(source: &Source, check: impl Fn(&File, &Table) -> Vec<Finding>) -> Vec<Finding> {
    source
        .manifests()
        .flat_map(|file| match file.text.parse::<Table>() {
            Ok(table) => check(file, &table),
            Err(error) => vec![Finding::new(&file.path, format!("is no TOML: {error}"))],
        })
        .collect()
}

fn dependencies(table: &Table) -> impl Iterator<Item = (&String, &Value)> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .filter_map(|kind| table.get(kind).and_then(Value::as_table))
        .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[package]\nname = \"banger-cli\"\n[lints]\nworkspace = true\n\
                        [dependencies]\nbanger-api.workspace = true\n";

    fn source(text: &str) -> Source {
        Source::of(&[("crates/cli/Cargo.toml", text)])
    }

    fn said(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_good_manifest_is_left_alone() {
        for rule in [without_lints, own_versions, forbidden_dependencies] {
            assert_eq!(rule(&source(GOOD)), []);
        }
    }

    #[test]
    fn a_crate_without_lints_is_found() {
        let text = GOOD.replace("[lints]\nworkspace = true\n", "");
        assert_eq!(said(without_lints(&source(&text))), ["does not take the workspace's lints"]);
    }

    #[test]
    fn a_version_outside_of_the_table_is_found() {
        let text = format!("{GOOD}[dev-dependencies]\ninsta = \"1\"\n");
        assert_eq!(said(own_versions(&source(&text))), ["gives `insta` a version"]);
    }

    #[test]
    fn the_table_is_sorted() {
        let text =
            "[workspace.dependencies]\nb = \"1\"\na = \"1\"\n\n[workspace.lints.rust]\nA = 1\n";
        let found = own_versions(&Source::of(&[("Cargo.toml", text)]));
        assert_eq!(said(found), ["has `b` before `a`"]);
    }

    #[test]
    fn the_client_may_not_know_the_engine_but_its_tests_may() {
        let tests = format!("{GOOD}[dev-dependencies]\nbanger-engine.workspace = true\n");
        assert_eq!(forbidden_dependencies(&source(&tests)), []);
        let product = format!("{GOOD}banger-engine.workspace = true\n");
        let found = forbidden_dependencies(&source(&product));
        assert_eq!(said(found), ["`banger-cli` may not use `banger-engine`"]);
    }

    #[test]
    fn a_new_crate_has_to_be_entered() {
        let text = GOOD.replace("banger-cli", "banger-utils");
        assert_eq!(
            said(forbidden_dependencies(&source(&text))),
            ["`banger-utils` is not in the table"]
        );
    }
}
