//! QEMU's arguments for a machine.

use super::Acceleration;
use crate::boot_args::render_command_line;
use crate::{Disk, Machine, Nic};
use std::path::Path;

/// q35 without what no guest of ours uses. Each part that is off is one that the firmware and the
/// guest's kernel need not look for: together a tenth of the time to the guest's init.
const MACHINE: &str = "q35,smm=off,sata=off,smbus=off,usb=off,vmport=off";

/// Translated code is kept in 512 MiB at most; the default depends on the host's memory.
const EMULATION: &str = "tcg,thread=multi,tb-size=512";

/// All that QEMU can emulate but the promise that string instructions are the quickest way to move
/// bytes (ERMS, and FSRM, which QEMU knows since 5.2): QEMU takes them byte by byte. Without that
/// promise kernel and C library clear and copy memory in words and larger, in a half to a seventh of
/// the time (QEMU 7.2; docs/performance.md).
const EMULATED_CPU: &str = "max,-erms,-fsrm";

/// System calls that no running VMM needs. A QEMU built without seccomp refuses the option.
const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// All arguments, in a fixed order.
pub(super) fn render_args(acceleration: Acceleration, machine: &Machine) -> Vec<String> {
    let mut args = Args::default();
    args.pair("-machine", MACHINE);
    let (accel, cpu) = match acceleration {
        Acceleration::Kvm => ("kvm", "host"),
        Acceleration::Emulation => (EMULATION, EMULATED_CPU),
    };
    args.pair("-accel", accel);
    args.pair("-cpu", cpu);
    args.pair("-smp", machine.vcpu.to_string());
    args.pair("-m", format!("{}M", machine.memory.get()));
    for flag in ["-nodefaults", "-no-user-config", "-no-reboot"] {
        args.flag(flag);
    }
    args.pair("-display", "none");
    args.pair("-sandbox", SANDBOX);
    args.pair("-msg", "timestamp=on");
    args.kernel(machine);
    args.console();
    args.control(&machine.api_socket);
    for disk in &machine.disks {
        args.disk(disk);
    }
    args.nic(&machine.nic);
    args.pair("-device", "virtio-rng-pci,disable-legacy=on");
    args.0
}

/// Doubles the commas of an option's value: a single one ends the value (qemu(1)).
fn escape(value: &str) -> String {
    value.replace(',', ",,")
}

fn escape_path(path: &Path) -> String {
    escape(&path.to_string_lossy())
}

#[derive(Default)]
struct Args(Vec<String>);

impl Args {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.to_owned());
    }

    fn pair(&mut self, name: &str, value: impl Into<String>) {
        self.0.push(name.to_owned());
        self.0.push(value.into());
    }

    /// These three are plain arguments, not options with commas.
    fn kernel(&mut self, machine: &Machine) {
        self.pair("-kernel", machine.kernel.to_string_lossy());
        self.pair("-initrd", machine.initrd.to_string_lossy());
        self.pair("-append", render_command_line(&[], &machine.boot_args));
    }

    /// The serial port writes to standard output. Standard input is at its end from the start, which
    /// the guest sees as silence. `signal=off` leaves terminal keys alone.
    fn console(&mut self) {
        self.pair("-chardev", "stdio,id=console,signal=off");
        self.pair("-serial", "chardev:console");
    }

    /// `-S`: the processors wait until the control socket says `cont`.
    fn control(&mut self, socket: &Path) {
        let socket = escape_path(socket);
        self.pair("-chardev", format!("socket,id=control,path={socket},server=on,wait=off"));
        self.pair("-mon", "chardev=control,mode=control");
        self.flag("-S");
    }

    /// `cache=writeback` keeps the host's page cache and passes the guest's flushes on as
    /// `fdatasync`, so that what a guest has synced survives the host's power failure.
    /// `discard=unmap` gives space that a guest frees back to the host.
    fn disk(&mut self, disk: &Disk) {
        let (id, path) = (disk.id, escape_path(&disk.path));
        self.pair(
            "-drive",
            format!("if=none,id={id},file={path},format=raw,cache=writeback,discard=unmap"),
        );
        self.pair("-device", format!("virtio-blk-pci,drive={id},disable-legacy=on"));
    }

    /// No `romfile`: the firmware never boots from the network.
    fn nic(&mut self, nic: &Nic) {
        let (tap, mac) = (&nic.tap, nic.mac);
        self.pair("-netdev", format!("tap,id=eth0,ifname={tap},script=no,downscript=no"));
        self.pair(
            "-device",
            format!("virtio-net-pci,netdev=eth0,mac={mac},romfile=,disable-legacy=on"),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use banger_core::names::IfName;
    use banger_core::net::MacAddr;
    use banger_core::unit::{MiB, VcpuCount};

    fn machine() -> Machine {
        Machine {
            vcpu: VcpuCount::new(3).unwrap(),
            memory: MiB::of(1536),
            kernel: "/bundle/vmlinux".into(),
            initrd: "/vms/a/initrd".into(),
            boot_args: vec!["ro".to_owned()],
            disks: vec![
                Disk { id: "root", path: "/dev/mapper/banger-x-root".into() },
                Disk { id: "work", path: "/vms/a,b/work.img".into() },
            ],
            nic: Nic {
                tap: IfName::try_from("bx1t0".to_owned()).unwrap(),
                mac: MacAddr::try_from("06:00:ac:10:00:02".to_owned()).unwrap(),
            },
            api_socket: "/run/a,b/api.sock".into(),
        }
    }

    /// One option and its values per line.
    fn lines(acceleration: Acceleration) -> String {
        let args = render_args(acceleration, &machine()).join(" ");
        args.replace(" -", "\n-")
    }

    #[test]
    fn an_emulated_machine_has_these_arguments() {
        insta::assert_snapshot!(lines(Acceleration::Emulation), @"
        -machine q35,smm=off,sata=off,smbus=off,usb=off,vmport=off
        -accel tcg,thread=multi,tb-size=512
        -cpu max,-erms,-fsrm
        -smp 3
        -m 1536M
        -nodefaults
        -no-user-config
        -no-reboot
        -display none
        -sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
        -msg timestamp=on
        -kernel /bundle/vmlinux
        -initrd /vms/a/initrd
        -append console=ttyS0 reboot=k panic=1 quiet loglevel=4 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=on ro
        -chardev stdio,id=console,signal=off
        -serial chardev:console
        -chardev socket,id=control,path=/run/a,,b/api.sock,server=on,wait=off
        -mon chardev=control,mode=control
        -S
        -drive if=none,id=root,file=/dev/mapper/banger-x-root,format=raw,cache=writeback,discard=unmap
        -device virtio-blk-pci,drive=root,disable-legacy=on
        -drive if=none,id=work,file=/vms/a,,b/work.img,format=raw,cache=writeback,discard=unmap
        -device virtio-blk-pci,drive=work,disable-legacy=on
        -netdev tap,id=eth0,ifname=bx1t0,script=no,downscript=no
        -device virtio-net-pci,netdev=eth0,mac=06:00:ac:10:00:02,romfile=,disable-legacy=on
        -device virtio-rng-pci,disable-legacy=on
        ");
    }

    #[test]
    fn kvm_changes_the_accelerator_and_the_cpu_alone() {
        let (emulated, kvm) = (lines(Acceleration::Emulation), lines(Acceleration::Kvm));
        let changed: Vec<_> = emulated
            .lines()
            .zip(kvm.lines())
            .filter(|(one, other)| one != other)
            .map(|(_, kvm)| kvm)
            .collect();
        assert_eq!(changed, ["-accel kvm", "-cpu host"]);
        assert_eq!(emulated.lines().count(), kvm.lines().count());
    }

    #[test]
    fn commas_are_doubled_where_options_have_them_and_nowhere_else() {
        let mut machine = machine();
        machine.kernel = "/bundle,1/vmlinux".into();
        let args = render_args(Acceleration::Emulation, &machine);
        assert!(args.contains(&"/bundle,1/vmlinux".to_owned()));
        assert!(args.iter().any(|arg| arg.contains("file=/vms/a,,b/work.img,format")));
        assert!(args.iter().any(|arg| arg.contains("path=/run/a,,b/api.sock,server")));
    }

    #[test]
    fn disks_keep_their_order() {
        let args = render_args(Acceleration::Emulation, &machine());
        let place = |id: &str| args.iter().position(|arg| arg.contains(&format!("drive={id},")));
        assert!(place("root").unwrap() < place("work").unwrap());
    }
}
