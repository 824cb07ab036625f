//! The root disk: a device-mapper device over loop devices, made by losetup and dmsetup.

use crate::cmd::Cmd;
use anyhow::{Context, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Where the devices of device-mapper are, by their names.
const MAPPER: &str = "/dev/mapper/";

/// How to make a device again that banger has made.
#[derive(Debug)]
pub(super) struct RootDisk {
    name: String,
    /// The table, with the number of a file in place of each loop device.
    table: Vec<Word>,
    files: Vec<Backing>,
    table_file: PathBuf,
}

/// A piece of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Text(String),
    /// The loop device over this file.
    Loop(usize),
}

/// What a loop device stands on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Backing {
    file: PathBuf,
    access: Access,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    Read,
    Write,
}

/// The device, made. It does not outlive this value.
#[derive(Debug)]
pub(super) struct Attached<'a> {
    disk: &'a RootDisk,
    loops: Vec<String>,
    device: Device,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Device {
    Absent,
    Made,
}

impl RootDisk {
    /// Learns it from the device that is there. `dir` is for a file of its own.
    pub(super) fn of(device: &Path, dir: &Path) -> Result<Self> {
        let name = device.to_str().and_then(|device| device.strip_prefix(MAPPER));
        let name =
            name.with_context(|| format!("{} is not over device-mapper", device.display()))?;
        let table = Cmd::new("dmsetup").args(["table", name]).silent().read()?;
        let (table, numbers) = parse(&table);
        let files = numbers.iter().map(|number| Backing::of(number)).collect::<Result<_>>()?;
        Ok(Self { name: name.to_owned(), table, files, table_file: dir.join("table") })
    }

    /// Makes the device.
    pub(super) fn attach(&self) -> Result<Attached<'_>> {
        let mut attached = Attached { disk: self, loops: Vec::new(), device: Device::Absent };
        for Backing { file, access } in &self.files {
            let losetup = Cmd::new("losetup").args(["--find", "--show"]).silent();
            let losetup = match access {
                Access::Read => losetup.arg("--read-only"),
                Access::Write => losetup,
            };
            attached.loops.push(losetup.arg(file).read()?.trim().to_owned());
        }
        let path = &self.table_file;
        fs::write(path, render(&self.table, &attached.loops))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Cmd::new("dmsetup").arg("create").arg(&self.name).arg(path).silent().run()?;
        attached.device = Device::Made;
        Ok(attached)
    }
}

impl Backing {
    /// Of the loop device with these numbers, such as `7:0`.
    fn of(number: &str) -> Result<Self> {
        let read = |file: &str| {
            let path = format!("/sys/dev/block/{number}/{file}");
            fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
        };
        let file = PathBuf::from(read("loop/backing_file")?.trim_end_matches('\n'));
        let access = if read("ro")?.trim() == "1" { Access::Read } else { Access::Write };
        Ok(Self { file, access })
    }
}

impl Attached<'_> {
    /// Removes the device.
    pub(super) fn detach(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        if self.device == Device::Made {
            Cmd::new("dmsetup")
                .args(["remove", "--retry", &self.disk.name])
                .silent()
                .clean_up()
                .run()?;
            self.device = Device::Absent;
        }
        while let Some(device) = self.loops.pop() {
            Cmd::new("losetup").args(["--detach", &device]).silent().clean_up().run()?;
        }
        Ok(())
    }
}

impl Drop for Attached<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            eprintln!("note: {} is left: {error}", self.disk.name);
        }
    }
}

/// The table, and the numbers of the devices that it names.
fn parse(text: &str) -> (Vec<Word>, Vec<String>) {
    let (mut table, mut numbers) = (Vec::new(), Vec::<String>::new());
    for line in text.lines() {
        for word in line.split_whitespace() {
            if !is_device(word) {
                table.push(Word::Text(word.to_owned()));
                continue;
            }
            let known = numbers.iter().position(|number| number == word);
            table.push(Word::Loop(known.unwrap_or(numbers.len())));
            if known.is_none() {
                numbers.push(word.to_owned());
            }
        }
        table.push(Word::Text("\n".to_owned()));
    }
    (table, numbers)
}

fn is_device(word: &str) -> bool {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    word.split_once(':').is_some_and(|(major, minor)| is_number(major) && is_number(minor))
}

fn render(table: &[Word], loops: &[String]) -> String {
    let words = table.iter().map(|word| match word {
        Word::Text(text) if text == "\n" => text.clone(),
        Word::Text(text) => format!("{text} "),
        Word::Loop(number) => format!("{} ", loops[*number]),
    });
    words.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_made_again_over_other_devices() {
        let text = "0 16 snapshot 7:4 7:0 P 8\n16 8 linear 7:9 0\n24 8 linear 7:9 8\n";
        let (table, numbers) = parse(text);
        assert_eq!(numbers, ["7:4", "7:0", "7:9"]);
        let loops = ["/dev/loop0", "/dev/loop1", "/dev/loop2"].map(str::to_owned);
        assert_eq!(
            render(&table, &loops),
            "0 16 snapshot /dev/loop0 /dev/loop1 P 8 \n\
             16 8 linear /dev/loop2 0 \n\
             24 8 linear /dev/loop2 8 \n"
        );
    }

    #[test]
    fn only_a_device_of_device_mapper_can_be_learned() {
        let error = RootDisk::of(Path::new("/root.img"), Path::new("/")).unwrap_err().to_string();
        assert_eq!(error, "/root.img is not over device-mapper");
    }
}
