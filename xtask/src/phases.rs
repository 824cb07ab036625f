//! How long each phase of a task took.
//!
//! The phases are kept in a file, since a task goes through several processes.

use anyhow::{Context, Result};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The phases of one run.
#[derive(Debug)]
pub(crate) struct Phases {
    file: PathBuf,
}

impl Phases {
    /// Begins a run.
    pub(crate) fn begin(file: &Path) -> Result<Self> {
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        fs::write(file, "").with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Self::resume(file))
    }

    /// Goes on with the run of another process.
    pub(crate) fn resume(file: &Path) -> Self {
        Self { file: file.to_owned() }
    }

    /// Does a piece of work and notes how long it took. One that failed is not noted.
    pub(crate) fn time<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        eprintln!("\n== {name}");
        let start = Instant::now();
        let done = work()?;
        let line = format!("{}\t{name}\n", start.elapsed().as_millis());
        OpenOptions::new()
            .append(true)
            .open(&self.file)
            .and_then(|mut file| file.write_all(line.as_bytes()))
            .with_context(|| format!("cannot write {}", self.file.display()))?;
        Ok(done)
    }

    /// The phases so far as a table, with their sum.
    pub(crate) fn render(&self) -> Result<String> {
        let text = fs::read_to_string(&self.file)
            .with_context(|| format!("cannot read {}", self.file.display()))?;
        Ok(table(&text))
    }
}

fn table(text: &str) -> String {
    let rows: Vec<(&str, Duration)> = text
        .lines()
        .filter_map(|line| line.split_once('\t'))
        .filter_map(|(ms, name)| Some((name, Duration::from_millis(ms.parse().ok()?))))
        .collect();
    let total = ("total", rows.iter().map(|(_, time)| *time).sum());
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max(5);
    rows.iter()
        .chain([&total])
        .map(|(name, time)| format!("  {name:width$}  {:>7.1} s\n", time.as_secs_f64()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_aligned_and_ends_with_the_sum() {
        let expected =
            "  build            62.0 s\n  a longer one      0.1 s\n  total            62.1 s\n";
        assert_eq!(table("62000\tbuild\n100\ta longer one\n"), expected);
    }
}
