//! The kernel command line, for all VMMs.

/// What every guest needs, in the order in which it is given.
const COMMON: [&str; 10] = [
    // The serial port is the console; it ends up in the VM's console log.
    "console=ttyS0",
    // A restart pulses the keyboard controller's reset line: the one way of restarting that
    // Firecracker has, and QEMU knows it too. Both then exit.
    "reboot=k",
    // A panicked guest restarts after a second, so its VMM exits and the host notices.
    "panic=1",
    // Printing on an emulated serial port costs an exit per byte. Warnings still get through.
    "quiet",
    "loglevel=4",
    // There is one serial port; probing for the other three takes time.
    "8250.nr_uarts=1",
    // The keyboard is there for Ctrl-Alt-Del alone: no mouse, no multiplexer, no LEDs to probe.
    "i8042.noaux",
    "i8042.nomux",
    "i8042.dumbkbd",
    // The guest's random pool starts from the CPU's generator.
    "random.trust_cpu=on",
];

/// Firecracker has no PCI bus; looking for one takes time.
pub(crate) const NO_PCI: &str = "pci=off";

/// Joins the common words, the VMM's own and the image's. The image's come last, so that they win.
pub(crate) fn render_command_line(vmm: &[&str], image: &[String]) -> String {
    let words = COMMON.iter().chain(vmm).copied();
    words.chain(image.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_image_has_the_last_word() {
        let line = render_command_line(&[NO_PCI], &["loglevel=7".to_owned(), "ro".to_owned()]);
        insta::assert_snapshot!(line, @"console=ttyS0 reboot=k panic=1 quiet loglevel=4 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=on pci=off loglevel=7 ro");
    }

    #[test]
    fn without_additions_there_is_no_stray_space() {
        let line = render_command_line(&[], &[]);
        assert_eq!(line, line.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}
