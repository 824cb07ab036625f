//! The kernel in a bzImage: its header, and the compressed ELF file that the header points to.

#![no_main]

use banger_image::kernel::{check_vmlinux, extract_vmlinux};
use libfuzzer_sys::fuzz_target;
use std::borrow::Cow;

fuzz_target!(|image: &[u8]| {
    match extract_vmlinux(image) {
        Ok(Cow::Borrowed(kernel)) => {
            assert_eq!(kernel, image, "a kernel is left as it is");
            assert!(check_vmlinux(image).is_ok());
        }
        Ok(Cow::Owned(kernel)) => {
            assert!(check_vmlinux(&kernel).is_ok(), "what is unpacked is a kernel");
            assert!(check_vmlinux(image).is_err(), "and what it was in is none");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
