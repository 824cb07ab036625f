//! A line of banger's in a file that belongs to the user, between two markers: the file as it would
//! be with it, and without. Pure, over bytes: whatever is not banger's stays as it is.

const BEGIN: &[u8] = b"# >>> banger ssh-config >>>";
const END: &[u8] = b"# <<< banger ssh-config <<<";

/// How a line of banger's begins and ends; what is between is the state directory.
const OURS: (&[u8], &[u8]) = (b"Include \"", b"/ssh/config\"");

/// A fence that somebody has edited, so that nobody can tell what of it is banger's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FenceError {
    /// A marker is missing, or there are too many.
    #[error("line {line} is a marker of banger's that has no counterpart")]
    Torn {
        /// The marker's, from 1.
        line: usize,
    },
    /// There is something else between the markers.
    #[error("line {line} is between banger's markers and not banger's")]
    Foreign {
        /// Its number, from 1.
        line: usize,
    },
}

/// Where the fence is.
#[derive(Debug)]
struct Fence<'a> {
    before: &'a [u8],
    /// The one line in it; it may have been removed.
    inside: Option<&'a [u8]>,
    after: &'a [u8],
}

/// The file with `line` in it, and no other of banger's.
///
/// It is above everything but comments: ssh takes the first value that it finds, and what follows a
/// `Host` would hold for that host alone.
pub(crate) fn with(file: &[u8], line: &str) -> Result<Vec<u8>, FenceError> {
    let (above, below) = match find(file)? {
        None => (&b""[..], file.to_vec()),
        Some(fence) if fence.before.split_inclusive(is_newline).all(is_comment) => {
            if fence.inside == Some(line.as_bytes()) {
                return Ok(file.to_vec());
            }
            (fence.before, fence.after.to_vec())
        }
        Some(fence) => (&b""[..], [fence.before, fence.after].concat()),
    };
    let first = file.split_inclusive(is_newline).next().unwrap_or_default();
    let end: &[u8] = if first.ends_with(b"\r\n") { b"\r\n" } else { b"\n" };
    let lines = [BEGIN, line.as_bytes(), END].map(|line| [line, end].concat());
    Ok([above, &lines.concat(), &below].concat())
}

/// The file without any line of banger's.
pub(crate) fn without(file: &[u8]) -> Result<Vec<u8>, FenceError> {
    Ok(match find(file)? {
        Some(fence) => [fence.before, fence.after].concat(),
        None => file.to_vec(),
    })
}

fn find(file: &[u8]) -> Result<Option<Fence<'_>>, FenceError> {
    let lines: Vec<&[u8]> = file.split_inclusive(is_newline).collect();
    let is = |line: &[u8], marker: &[u8]| line.trim_ascii() == marker;
    let markers: Vec<usize> =
        (0..lines.len()).filter(|at| is(lines[*at], BEGIN) || is(lines[*at], END)).collect();
    let (begin, end) = match markers[..] {
        [] => return Ok(None),
        [begin, end] if is(lines[begin], BEGIN) && is(lines[end], END) => (begin, end),
        // Of two beginnings the first is the one that was not ended.
        [first, ..] => return Err(FenceError::Torn { line: first + 1 }),
    };
    let length = |lines: &[&[u8]]| lines.iter().map(|line| line.len()).sum::<usize>();
    let inside = match &lines[begin + 1..end] {
        [] => None,
        [line] if is_ours(line.trim_ascii()) => Some(line.trim_ascii()),
        [line, ..] => {
            let line = begin + 2 + usize::from(is_ours(line.trim_ascii()));
            return Err(FenceError::Foreign { line });
        }
    };
    let (before, after) = (length(&lines[..begin]), length(&lines[..=end]));
    Ok(Some(Fence { before: &file[..before], inside, after: &file[after..] }))
}

fn is_newline(byte: &u8) -> bool {
    *byte == b'\n'
}

fn is_comment(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.is_empty() || line.starts_with(b"#")
}

fn is_ours(line: &[u8]) -> bool {
    line.starts_with(OURS.0) && line.ends_with(OURS.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "Include \"/s/ssh/config\"";
    const BLOCK: &str = "# >>> banger ssh-config >>>\nInclude \"/s/ssh/config\"\n\
                         # <<< banger ssh-config <<<\n";

    fn put(file: &str) -> String {
        String::from_utf8(with(file.as_bytes(), LINE).unwrap()).unwrap()
    }

    fn taken(file: &str) -> String {
        String::from_utf8(without(file.as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn any_file_is_as_before_when_the_line_goes_again() {
        let files = [
            "",
            "\n",
            "Host a\n  User b\n",
            "Host a\n  User b",
            "Host a\r\n  User b\r\n",
            "# mine\n\nHost *\n",
            "\u{feff}Host a\n",
            "Include x\n# >>> another >>>\n",
        ];
        for file in files {
            assert_eq!(taken(&put(file)), file, "{file:?}");
            assert_eq!(put(&put(file)), put(file), "{file:?}");
            assert_eq!(taken(file), file);
        }
        assert_eq!(put("Host a\n"), format!("{BLOCK}Host a\n"));
        let binary = b"Host \xff\xfe\0\n";
        assert_eq!(without(&with(binary, LINE).unwrap()).unwrap(), binary);
    }

    #[test]
    fn lines_end_as_they_do_in_the_file() {
        assert_eq!(put("Host a\r\n"), format!("{}Host a\r\n", BLOCK.replace('\n', "\r\n")));
        // An editor may have changed them since, or dropped the last.
        assert_eq!(taken(&format!("a\n{}b\n", BLOCK.replace('\n', "\r\n"))), "a\nb\n");
        assert_eq!(taken(&format!("a\n{}", BLOCK.trim_end())), "a\n");
    }

    #[test]
    fn what_an_older_line_said_is_replaced_where_it_is() {
        let older = BLOCK.replace("/s/", "/older/");
        assert_eq!(put(&format!("# mine\n{older}Host a\n")), format!("# mine\n{BLOCK}Host a\n"));
        assert_eq!(put(&format!("Host a\n{older}Host b\n")), format!("{BLOCK}Host a\nHost b\n"));
        assert_eq!(put(&format!("Host a\n{BLOCK}")), format!("{BLOCK}Host a\n"));
        let emptied = BLOCK.replace(&format!("{LINE}\n"), "");
        assert_eq!(put(&emptied), BLOCK);
        assert_eq!(taken(&emptied), "");
    }

    #[test]
    fn a_fence_that_was_edited_is_not_touched() {
        let [begin, line, end] = [0, 1, 2].map(|at| BLOCK.lines().nth(at).unwrap());
        let torn = |line| FenceError::Torn { line };
        let foreign = |line| FenceError::Foreign { line };
        let cases = [
            (format!("Host a\n{begin}\n{line}\n"), torn(2)),
            (format!("{line}\n{end}\n"), torn(2)),
            (format!("{end}\n{line}\n{begin}\n"), torn(1)),
            (format!("{begin}\n{begin}\n{line}\n{end}\n"), torn(1)),
            (format!("{BLOCK}{BLOCK}"), torn(1)),
            (format!("{begin}\n{line}\nHost mine\n{end}\n"), foreign(3)),
            (format!("{begin}\nHost mine\n{line}\n{end}\n"), foreign(2)),
            (format!("{begin}\nInclude ~/.ssh/work\n{end}\n"), foreign(2)),
        ];
        for (file, error) in cases {
            assert_eq!(with(file.as_bytes(), LINE), Err(error.clone()), "{file}");
            assert_eq!(without(file.as_bytes()), Err(error), "{file}");
        }
    }
}
