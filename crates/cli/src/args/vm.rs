//! The verbs of `banger vm`.

use super::value;
use banger_api::{CreateVm, LogQuery, LogSource, StartVm, StopVm, Wait};
use banger_core::forward::{Forward, ForwardChange};
use banger_core::spec::{SpecChange, VmSpec};
use banger_core::unit::{MiB, VcpuCount};
use banger_core::vm_name::{ImageName, VmName};
use clap::{Arg, Args, Command, Subcommand, ValueEnum};

const CREATE_EXAMPLES: &str = "\
Examples:
  banger vm create
  banger vm create --name otter --vcpu 4 --memory 4G --disk-size 20G
  banger vm create --no-nat --wait guest --timings";

const RUN_EXAMPLES: &str = "\
Examples:
  banger vm run                          a new VM and a shell in it
  banger vm run --rm -- uname -a         one command, and nothing is left
  banger vm run --rm -- 'ls / | wc -l'   a single argument is a line for the guest's shell

The exit code is the command's own. With --rm the VM is deleted at the end, whatever happens.";

const SSH_EXAMPLES: &str = "\
Examples:
  banger vm ssh otter
  banger vm ssh otter -- ls -l '/root/my file'   several arguments arrive as they are given
  banger vm ssh otter -- 'ls / | wc -l'          a single one is a line for the guest's shell

The exit code is the command's own; 255 means that ssh itself failed.";

const LOGS_EXAMPLES: &str = "\
Examples:
  banger vm logs -f otter        the console, and on with it
  banger vm logs --why otter     why it failed, also after a create that left no VM

Of a boot that writes much, the first 256 KiB and the last 1 MiB are kept.";

const SET_EXAMPLES: &str = "\
Examples:
  banger vm set otter --memory 4G --vcpu 4
  banger vm set otter --disk-size 40G       disks only grow
  banger vm set otter heron --no-nat";

const FORWARD_EXAMPLES: &str = "\
Examples:
  banger vm forward otter 8080:80        127.0.0.1:8080 leads to port 80 of the guest
  banger vm forward otter 5353:53/udp    the same for UDP
  banger vm forward otter                list them
  banger vm forward otter 8080 --remove  127.0.0.1:8080 is free again

A forward is kept with the VM: it is there again whenever the VM runs.";

const PORTS_NOTE: &str = "\
Example:
  banger vm ports otter

The guest is asked over ssh. A UDP port is listed also where its program only sends from it.";

const STATS_NOTE: &str = "\
Examples:
  banger vm stats                 all VMs, once
  banger vm stats -w otter        look again every two seconds
  banger --json vm stats -w       one document a line

CPU is that of the host, where 100 % is one processor. Of the disks only what the VM has
written itself counts.";

#[derive(Debug, Subcommand)]
pub(crate) enum VmVerb {
    /// Create a VM and boot it
    #[command(after_help = CREATE_EXAMPLES)]
    Create(CreateArgs),
    /// Create a VM and run a command or a shell in it
    #[command(after_help = RUN_EXAMPLES)]
    Run(RunArgs),
    /// List the VMs
    #[command(visible_alias = "ls")]
    List,
    /// Show everything about VMs
    Show(RefsArgs),
    /// Enter a VM, or run a command in it
    #[command(after_help = SSH_EXAMPLES)]
    Ssh(SshArgs),
    /// Boot VMs
    Start(StartArgs),
    /// Ask VMs to shut down; they keep their disks
    Stop(StopArgs),
    /// Stop VMs and boot them again
    Restart(RestartArgs),
    /// Send a signal to the VMM of VMs
    Kill(KillArgs),
    /// Remove VMs with their disks, running or not
    #[command(visible_alias = "rm")]
    Delete(RefsArgs),
    /// Change what VMs are given
    #[command(after_help = SET_EXAMPLES)]
    Set(SetArgs),
    /// Print what a guest wrote to its console, or why it failed
    #[command(after_help = LOGS_EXAMPLES)]
    Logs(LogsArgs),
    /// Have a port of this host lead into a VM while it runs, or list those that do
    #[command(after_help = FORWARD_EXAMPLES)]
    Forward(ForwardArgs),
    /// Show what guests listen on
    #[command(after_help = PORTS_NOTE)]
    Ports(RefsArgs),
    /// Show what VMs use
    #[command(after_help = STATS_NOTE)]
    Stats(StatsArgs),
}

/// One VM or several.
#[derive(Debug, Args)]
pub(crate) struct RefsArgs {
    /// Names or ids, or unique beginnings of them
    #[arg(value_name = "VM", required = true, value_parser = value::reference)]
    pub(crate) refs: Vec<String>,
}

/// What a VM is given.
#[derive(Debug, Args)]
pub(crate) struct SpecArgs {
    /// Virtual processors, 1 to 32
    #[arg(long, value_name = "N", value_parser = value::vcpu, allow_hyphen_values = true)]
    vcpu: Option<VcpuCount>,
    /// Memory, such as 512M or 2G
    #[arg(long, value_name = "SIZE", value_parser = value::memory, allow_hyphen_values = true)]
    memory: Option<MiB>,
    /// The root disk, a private layer over the image
    #[arg(long, value_name = "SIZE", value_parser = value::overlay, allow_hyphen_values = true)]
    overlay_size: Option<MiB>,
    /// The work disk, mounted on /root
    #[arg(long, value_name = "SIZE", value_parser = value::work_disk, allow_hyphen_values = true)]
    disk_size: Option<MiB>,
    /// Let the guest reach beyond this host
    #[arg(long, overrides_with = "no_nat")]
    nat: bool,
    /// Keep the guest from reaching beyond this host
    #[arg(long, overrides_with = "nat")]
    no_nat: bool,
}

impl SpecArgs {
    pub(crate) fn change(&self) -> SpecChange {
        SpecChange {
            vcpu: self.vcpu,
            memory: self.memory,
            overlay: self.overlay_size,
            work_disk: self.disk_size,
            nat: (self.nat || self.no_nat).then_some(self.nat),
        }
    }
}

/// Adds the defaults of a new VM to the help of a command that makes one.
pub(super) fn with_defaults(command: Command) -> Command {
    let spec = VmSpec::builtin_defaults();
    let defaults = [
        ("vcpu", spec.vcpu.to_string()),
        ("memory", spec.memory.to_string()),
        ("overlay_size", spec.overlay.to_string()),
        ("disk_size", spec.work_disk.to_string()),
    ];
    let nat = if spec.nat { "nat" } else { "no_nat" };
    let command = command.mut_arg(nat, |arg| with_note(arg, "the default; configurable"));
    defaults.into_iter().fold(command, |command, (id, default)| {
        let note = format!("default: {default}; configurable");
        command.mut_arg(id, |arg| with_note(arg, &note))
    })
}

fn with_note(arg: Arg, note: &str) -> Arg {
    let what = arg.get_help().cloned().unwrap_or_default();
    arg.help(format!("{what} [{note}]"))
}

/// What a new VM is.
#[derive(Debug, Args)]
pub(crate) struct NewVmArgs {
    /// Its name: up to 63 of a-z, 0-9 and `-` [default: an adjective and a noun]
    #[arg(long)]
    pub(crate) name: Option<VmName>,
    /// The image that it boots from [default: default]
    #[arg(long)]
    image: Option<ImageName>,
    #[command(flatten, next_help_heading = "Size and network")]
    spec: SpecArgs,
}

impl NewVmArgs {
    /// The request for such a VM, booted or not.
    pub(crate) fn request(&self, start: Option<StartVm>) -> CreateVm {
        CreateVm {
            name: self.name.clone(),
            image: self.image.clone(),
            spec: self.spec.change(),
            start,
        }
    }
}

/// What a boot waits for.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum WaitFor {
    /// Nothing but the VMM's start
    None,
    /// The image's init
    Guest,
    /// The guest's sshd
    Ssh,
}

/// How long a boot may take.
#[derive(Debug, Args)]
pub(crate) struct PatienceArgs {
    /// How long to wait; the VM is left alone when it runs out
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds)]
    #[arg(allow_hyphen_values = true, default_value_t = StartVm::default().timeout_s)]
    timeout: u32,
    /// Show how long each phase took
    #[arg(long)]
    timings: bool,
}

/// Whether the phases of a boot are listed at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timings {
    /// With how long each took.
    Listed,
    /// Nobody asked.
    Left,
}

impl PatienceArgs {
    pub(crate) fn timings(&self) -> Timings {
        if self.timings { Timings::Listed } else { Timings::Left }
    }

    /// A boot until sshd answers.
    pub(crate) fn until_ssh(&self) -> StartVm {
        StartVm { wait: Wait::Ssh, timeout_s: self.timeout }
    }
}

/// How to wait for a boot.
#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// What to wait for
    #[arg(long, value_enum, default_value_t = WaitFor::Ssh)]
    wait: WaitFor,
    #[command(flatten)]
    pub(crate) patience: PatienceArgs,
}

impl WaitArgs {
    pub(crate) fn start(&self) -> StartVm {
        let wait = match self.wait {
            WaitFor::None => Wait::None,
            WaitFor::Guest => Wait::Guest,
            WaitFor::Ssh => Wait::Ssh,
        };
        StartVm { wait, timeout_s: self.patience.timeout }
    }
}

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    #[command(flatten)]
    pub(crate) vm: NewVmArgs,
    /// Only create the VM
    #[arg(long, help_heading = "Boot", conflicts_with = "wait")]
    no_start: bool,
    #[command(flatten, next_help_heading = "Boot")]
    pub(crate) wait: WaitArgs,
}

impl CreateArgs {
    pub(crate) fn request(&self) -> CreateVm {
        self.vm.request((!self.no_start).then(|| self.wait.start()))
    }
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Delete the VM at the end
    #[arg(long)]
    pub(crate) rm: bool,
    #[command(flatten)]
    pub(crate) vm: NewVmArgs,
    #[command(flatten, next_help_heading = "Boot")]
    pub(crate) patience: PatienceArgs,
    /// What to run, with its arguments; a shell when absent
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct SshArgs {
    /// Name or id, or a unique beginning of it
    #[arg(value_name = "VM", value_parser = value::reference)]
    pub(crate) reference: String,
    /// What to run, with its arguments; a shell when absent
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    #[command(flatten)]
    pub(crate) vms: RefsArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ForwardArgs {
    /// Name or id, or a unique beginning of it
    #[arg(value_name = "VM", value_parser = value::reference)]
    pub(crate) reference: String,
    /// The port of this host, the guest's where it is another, and `/udp` for UDP
    #[arg(value_name = "PORT[:GUEST-PORT][/PROTOCOL]")]
    pub(crate) forward: Option<Forward>,
    /// Have the port of this host lead nowhere
    #[arg(long, requires = "forward")]
    remove: bool,
}

impl ForwardArgs {
    /// What is to be changed, if anything.
    pub(crate) fn change(&self) -> Option<ForwardChange> {
        let change = |forward: Forward| {
            if self.remove {
                ForwardChange::Remove(forward.from)
            } else {
                ForwardChange::Add(forward)
            }
        };
        self.forward.map(change)
    }
}

/// How long a guest may take to end.
#[derive(Debug, Args)]
pub(crate) struct StopTimeoutArgs {
    /// How long the guest may take to end; then it is killed
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds)]
    #[arg(allow_hyphen_values = true, default_value_t = StopVm::default().timeout_s)]
    stop_timeout: u32,
}

#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    #[command(flatten)]
    pub(crate) vms: RefsArgs,
    /// How long a guest may take to end; then it is killed
    #[arg(long, value_name = "SECONDS", value_parser = value::seconds)]
    #[arg(allow_hyphen_values = true, default_value_t = StopVm::default().timeout_s)]
    timeout: u32,
}

impl StopArgs {
    pub(crate) fn stop(&self) -> StopVm {
        StopVm { timeout_s: self.timeout }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RestartArgs {
    #[command(flatten)]
    pub(crate) vms: RefsArgs,
    #[command(flatten)]
    stop: StopTimeoutArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

impl RestartArgs {
    pub(crate) fn stop(&self) -> StopVm {
        StopVm { timeout_s: self.stop.stop_timeout }
    }
}

#[derive(Debug, Args)]
pub(crate) struct KillArgs {
    #[command(flatten)]
    pub(crate) vms: RefsArgs,
    /// The signal, by name or number
    #[arg(long, short, value_name = "SIGNAL", default_value = "KILL")]
    pub(crate) signal: String,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    #[command(flatten)]
    pub(crate) vms: RefsArgs,
    #[command(flatten, next_help_heading = "At least one of")]
    pub(crate) spec: SpecArgs,
}

#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Name or id, or a unique beginning of it
    #[arg(value_name = "VM", value_parser = value::reference)]
    pub(crate) reference: String,
    /// Go on with what is written from now on
    #[arg(long, short)]
    follow: bool,
    /// Print what the VMM wrote about itself instead
    #[arg(long)]
    vmm: bool,
    /// Begin N lines before the end [default: at the beginning]
    #[arg(long, short = 'n', value_name = "N")]
    lines: Option<u32>,
    /// Print the log of the boot before the last one
    #[arg(long, short, conflicts_with = "follow")]
    previous: bool,
    /// Put together why the VM is as it is: state, last error, stages of the boot, telling lines
    #[arg(long, conflicts_with_all = ["follow", "vmm", "lines", "previous"])]
    pub(crate) why: bool,
}

impl LogsArgs {
    pub(crate) fn query(&self) -> LogQuery {
        LogQuery {
            source: if self.vmm { LogSource::Vmm } else { LogSource::Console },
            follow: self.follow,
            tail: self.lines,
            previous: self.previous,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct StatsArgs {
    /// Look again every two seconds, until Ctrl-C; with bars on a terminal
    #[arg(long, short)]
    pub(crate) watch: bool,
    /// Names or ids, or unique beginnings of them [default: all]
    #[arg(value_name = "VM", value_parser = value::reference)]
    pub(crate) refs: Vec<String>,
}
