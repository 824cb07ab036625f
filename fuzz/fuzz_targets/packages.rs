//! A list of packages, as people write it.

#![no_main]

use banger_provision::{PackageList, PackageName};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let list = match PackageList::parse(text) {
        Ok(list) => list,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    let names = list.normalised();
    assert!(names.is_sorted(), "the order of a list counts for nothing");
    for name in &names {
        assert!(name.parse::<PackageName>().is_ok(), "`{name}` is a name");
        assert!(!name.starts_with('-'), "`{name}` is no option");
    }
    let again = PackageList::parse(&names.join("\n")).expect("names are a list");
    assert_eq!(again.normalised(), names, "reading it once more changes nothing");
    assert_eq!(again.sha256(), list.sha256());
});
