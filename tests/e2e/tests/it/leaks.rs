//! The checks for leaks can be red, and a leak goes at the daemon's next start.

use crate::stage::{Site, tool};
use std::fs;

/// A VM that no daemon has ever had.
const NOBODY: &str = "00000000";

#[test]
fn planted_leaks_are_told_of_and_removed_at_the_next_start() {
    let site = Site::new();
    site.assert_clean();
    let instance = site.instance().unwrap().to_owned();
    let (tap, foreign) = (format!("b{instance}t{NOBODY}"), format!("bzzzzzt{NOBODY}"));
    for name in [&tap, &foreign] {
        tool("ip", &["tuntap", "add", "name", name, "mode", "tap"]);
    }
    let table = format!("banger_{instance}");
    tool("nft", &["add", "table", "ip", &table]);
    let runtime = site.runtime().join(&instance).join(NOBODY);
    fs::create_dir_all(&runtime).unwrap();
    let work = site.state().join("vms").join(NOBODY);
    fs::create_dir_all(&work).unwrap();
    fs::write(work.join("work.img"), "somebody's work").unwrap();

    let doctor = site.banger(&["doctor"]);
    doctor.code(1).shows("hint: `banger daemon restart` settles the difference");
    for leak in [&tap, &table, runtime.to_str().unwrap()] {
        doctor.shows(&format!("leaked: {leak} "));
    }
    assert!(!doctor.stdout().contains(&foreign), "another instance's TAP is not ours:\n{doctor}");
    let seen = site.of_vms();
    for leak in [
        format!("interface {tap}"),
        format!("table ip {table}"),
        format!("runtime directory {NOBODY}"),
        format!("VM directory {NOBODY}"),
    ] {
        assert!(seen.contains(&leak), "{leak}: {seen:?}");
    }

    site.banger(&["daemon", "restart"]).ok();
    let left = site.of_vms();
    assert_eq!(left, [format!("interface {foreign}"), format!("VM directory {NOBODY}")]);
    // A disk may be all that is left of somebody's work: it is told of and stays.
    site.banger(&["doctor"]).code(1).shows("work.img");
    assert_eq!(fs::read_to_string(work.join("work.img")).unwrap(), "somebody's work");

    fs::remove_dir_all(&work).unwrap();
    tool("ip", &["link", "delete", &foreign]);
    site.finish();
}
