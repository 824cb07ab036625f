//! Finding the VM or image that a user means: an exact id or name, else a unique prefix.

use crate::vm_name::VmName;

/// Why a reference does not name one thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// Nothing fits.
    #[error("no {kind} is called `{text}`")]
    Unknown {
        /// What was looked for: `VM`, `image`.
        kind: &'static str,
        /// The text as given.
        text: String,
        /// Existing names that look like it, best first.
        nearest: Vec<VmName>,
    },
    /// Several fit.
    #[error("`{text}` could be any of {}", list(.matches))]
    Ambiguous {
        /// The text as given.
        text: String,
        /// The names that fit, sorted.
        matches: Vec<VmName>,
    },
}

fn list(names: &[VmName]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// Resolves `text` among the things of one kind that exist.
pub fn resolve<'a, Id: AsRef<str>>(
    kind: &'static str,
    text: &str,
    all: impl Iterator<Item = (&'a Id, &'a VmName)> + Clone,
) -> Result<&'a Id, RefError> {
    let exact = all.clone().find(|(id, name)| name.as_str() == text || id.as_ref() == text);
    if let Some((id, _)) = exact {
        return Ok(id);
    }
    let fits = |&(id, name): &(&Id, &VmName)| {
        !text.is_empty() && (name.as_str().starts_with(text) || id.as_ref().starts_with(text))
    };
    let mut matches: Vec<_> = all.clone().filter(fits).collect();
    match matches.as_slice() {
        [(id, _)] => Ok(id),
        [] => Err(RefError::Unknown { kind, text: text.to_owned(), nearest: nearest(text, all) }),
        _ => {
            matches.sort_by_key(|(_, name)| *name);
            let matches = matches.into_iter().map(|(_, name)| name.clone()).collect();
            Err(RefError::Ambiguous { text: text.to_owned(), matches })
        }
    }
}

/// Names that are one typing slip away, at most three.
fn nearest<'a, Id: 'a>(text: &str, all: impl Iterator<Item = (&'a Id, &'a VmName)>) -> Vec<VmName> {
    let mut near: Vec<(usize, &VmName)> = all
        .map(|(_, name)| (distance(text, name.as_str()), name))
        .filter(|(distance, name)| *distance <= 1 + name.as_str().len() / 4)
        .collect();
    near.sort();
    near.into_iter().take(3).map(|(_, name)| name.clone()).collect()
}

/// The optimal string alignment distance: insertions, deletions, substitutions and swaps of
/// neighbours. Names have at most 63 characters, so the square table is small.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitution = usize::from(a[i - 1] != b[j - 1]);
            let mut best =
                (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + substitution);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::VmId;

    fn vms() -> Vec<(VmId, VmName)> {
        ["otter", "otter-two", "heron"]
            .into_iter()
            .zip(1u64..)
            .map(|(name, n)| (VmId::from_entropy(n << 35), name.parse().unwrap()))
            .collect()
    }

    fn find(text: &str) -> Result<String, RefError> {
        let vms = vms();
        let id = resolve("VM", text, vms.iter().map(|(id, name)| (id, name)))?;
        Ok(vms.iter().find(|(other, _)| other == id).unwrap().1.to_string())
    }

    #[test]
    fn an_exact_name_wins_over_a_longer_one() {
        assert_eq!(find("otter").unwrap(), "otter");
        assert_eq!(find("h").unwrap(), "heron");
        assert_eq!(find(vms()[1].0.as_str()).unwrap(), "otter-two");
    }

    #[test]
    fn an_ambiguous_prefix_lists_the_matches() {
        let message = find("ot").unwrap_err().to_string();
        assert_eq!(message, "`ot` could be any of `otter`, `otter-two`");
    }

    #[test]
    fn a_slip_finds_its_neighbour_and_nonsense_finds_none() {
        let nearest = |text| match find(text).unwrap_err() {
            RefError::Unknown { nearest, .. } => nearest,
            other => panic!("{other}"),
        };
        assert_eq!(nearest("ottre"), ["otter".parse().unwrap()]);
        assert_eq!(nearest("zzzzzzzz"), []);
        assert_eq!(nearest(""), []);
    }
}
