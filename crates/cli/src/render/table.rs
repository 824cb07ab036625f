//! Columns.

use super::error::one_line;

/// What stands between two columns.
const GAP: &str = "  ";

/// Renders rows under a header. Each column is as wide as its widest cell; a line has no blanks at
/// its end.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: &[[String; N]]) -> String {
    let header = header.map(str::to_owned);
    let all = || std::iter::once(&header).chain(rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    all().map(|row| line(row, &widths)).collect()
}

/// Renders pairs, the keys in a column of their own. Values may be anybody's words: each stays on its
/// line, and none of it acts upon the terminal.
pub(crate) fn pairs(pairs: &[(&str, String)]) -> String {
    let width = pairs.iter().map(|(key, _)| key.chars().count()).max().unwrap_or(0);
    pairs.iter().map(|(key, value)| line([key, one_line(value).as_str()], &[width, 0])).collect()
}

fn line<T: AsRef<str>>(cells: impl IntoIterator<Item = T>, widths: &[usize]) -> String {
    let padded: Vec<String> = cells
        .into_iter()
        .zip(widths)
        .map(|(cell, width)| format!("{:width$}", cell.as_ref()))
        .collect();
    padded.join(GAP).trim_end().to_owned() + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_without_blanks() {
        let rows = [["otter".to_owned(), "1".to_owned()], ["é".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], &rows), "NAME   N\notter  1\né\n");
        assert_eq!(
            pairs(&[("name", "otter".into()), ("id", "7".into())]),
            "name  otter\nid    7\n"
        );
        let forged = [("label", "a\nusable  yes\u{1b}[2J".into())];
        assert_eq!(pairs(&forged), "label  a; usable  yes\\u{1b}[2J\n");
    }
}
