//! The table about images.

use super::tree::Tree;
use super::{Images, Pair};
use crate::bench::report::{Table, ms, verdict};

/// The most that each may take, as a multiple of the other one's time.
const GOAL: f64 = 1.1;

/// The table, and what it comes to.
pub(in crate::bench) fn render(images: &Images) -> String {
    let Images { imported, uploaded, clones, imports, upload } = images;
    let mut page = Page {
        table: Table::new(
            "Images",
            &["rounds", "banger", "the other", "ratio, all", "processor time, all"],
        ),
        missed: Vec::new(),
    };
    if let Some((kind, pair)) = &clones.shared {
        page.judge("the clone by reflink", pair);
        let what = format!("clone of 2 GiB on {kind}, and `cp --reflink=always`");
        page.row(&what, pair, &[pair.processor_time()]);
    }
    let data = clones.data;
    let copy = format!("clone of 2 GiB, {data} MiB of it data, and `cp --sparse=always`");
    page.judge("the clone by copying", &clones.copied);
    page.row(&copy, &clones.copied, &[clones.copied.processor_time()]);
    let import = format!("import of a directory, {}, and `mke2fs -d`", size(imported));
    page.judge("the import of a directory", &imports.directory);
    // Others than the process that was started do most of it.
    page.row(&import, &imports.directory, &[]);
    page.row("import of it as a tar, and `tar -x`, `mke2fs -d`, `rm -r`", &imports.archive, &[]);
    page.judge("the upload", &upload.pair);
    let sent = format!("upload of {}, and `tar \\| ssh`", size(uploaded));
    page.row(&sent, &upload.pair, &[upload.pair.processor_time()]);
    if let Some(same) = &upload.same {
        page.row("… with `ssh` told to take banger's cipher", same, &[same.processor_time()]);
    }
    let by = match page.missed.as_slice() {
        [] => String::new(),
        missed => format!(" by {}", missed.join(", ")),
    };
    let met = verdict(page.missed.is_empty());
    let unmeasured = match clones.shared {
        Some(_) => "",
        None => {
            " This kernel can mount no file system that shares blocks, so clones by reflink were \
             not measured."
        }
    };
    format!(
        "{}\nGoal: at most {GOAL} of the other's time, for all but the tar and each with its own \
         cipher: {met}{by}.{unmeasured} Ciphers: banger's upload agrees with sshd on {}, `ssh` on {}.\n",
        page.table.text(),
        upload.ours,
        upload.theirs
    )
}

/// The table as it grows.
struct Page {
    table: Table,
    /// What has a goal and misses it.
    missed: Vec<&'static str>,
}

impl Page {
    fn judge(&mut self, what: &'static str, Pair { ours, theirs }: &Pair) {
        if ours.wall.ratios_to(&theirs.wall).median > GOAL {
            self.missed.push(what);
        }
    }

    fn row(&mut self, what: &str, Pair { ours, theirs }: &Pair, more: &[String]) {
        let cells = [
            ours.wall.count().to_string(),
            ms(ours.wall.median_ms()),
            ms(theirs.wall.median_ms()),
            ours.wall.ratios_to(&theirs.wall).to_string(),
        ];
        self.table.row(what, [&cells, more].concat());
    }
}

impl Pair {
    fn processor_time(&self) -> String {
        self.ours.cpu.ratios_to(&self.theirs.cpu).to_string()
    }
}

fn size(tree: &Tree) -> String {
    format!("{} MiB in {} files", tree.bytes >> 20, tree.files)
}

#[cfg(test)]
mod tests {
    use super::super::Side;
    use super::super::clone::Clones;
    use super::super::import::Imports;
    use super::super::upload::Upload;
    use super::*;
    use crate::bench::sample::Samples;
    use std::time::Duration;

    fn side(milliseconds: u64) -> Side {
        let samples = |time: u64| {
            let mut samples = Samples::default();
            samples.add(Duration::from_millis(time));
            samples
        };
        Side { wall: samples(milliseconds), cpu: samples(milliseconds / 2) }
    }

    fn pair(ours: u64, theirs: u64) -> Pair {
        Pair { ours: side(ours), theirs: side(theirs) }
    }

    fn tree(files: u64, mib: u64) -> Tree {
        Tree { dir: "/t".into(), files, bytes: mib << 20 }
    }

    fn images() -> Images {
        Images {
            imported: tree(20_000, 500),
            uploaded: tree(4000, 100),
            clones: Clones {
                shared: Some(("xfs", pair(4, 4))),
                copied: pair(900, 1000),
                data: 1020,
            },
            imports: Imports { directory: pair(2100, 2000), archive: pair(4000, 2000) },
            upload: Upload {
                pair: pair(660, 600),
                same: None,
                ours: "aes256-gcm@openssh.com".to_owned(),
                theirs: "aes256-gcm@openssh.com".to_owned(),
            },
        }
    }

    #[test]
    fn each_stands_beside_what_one_would_take_instead() {
        let expected = "\
| Images | rounds | banger | the other | ratio, all | processor time, all |
|---|---:|---:|---:|---:|---:|
| clone of 2 GiB on xfs, and `cp --reflink=always` | 1 | 4.0 ms | 4.0 ms | 1.00 (1.00 to 1.00) | 1.00 (1.00 to 1.00) |
| clone of 2 GiB, 1020 MiB of it data, and `cp --sparse=always` | 1 | 900 ms | 1000 ms | 0.90 (0.90 to 0.90) | 0.90 (0.90 to 0.90) |
| import of a directory, 500 MiB in 20000 files, and `mke2fs -d` | 1 | 2100 ms | 2000 ms | 1.05 (1.05 to 1.05) |  |
| import of it as a tar, and `tar -x`, `mke2fs -d`, `rm -r` | 1 | 4000 ms | 2000 ms | 2.00 (2.00 to 2.00) |  |
| upload of 100 MiB in 4000 files, and `tar \\| ssh` | 1 | 660 ms | 600 ms | 1.10 (1.10 to 1.10) | 1.10 (1.10 to 1.10) |

Goal: at most 1.1 of the other's time, for all but the tar and each with its own cipher: met. Ciphers: banger's \
upload agrees with sshd on aes256-gcm@openssh.com, `ssh` on aes256-gcm@openssh.com.
";
        assert_eq!(render(&images()), expected);
    }

    #[test]
    fn one_that_takes_longer_misses_the_goal_and_one_that_was_not_measured_is_named() {
        let mut images = images();
        images.clones.shared = None;
        images.clones.copied = pair(1200, 1000);
        images.upload.same = Some(pair(600, 600));
        let text = render(&images);
        assert!(
            text.contains("**missed** by the clone by copying. This kernel can mount no"),
            "{text}"
        );
        assert!(text.contains("\n| … with `ssh` told to take banger's cipher | 1 |"), "{text}");
    }
}
