//! What a VM is given: its spec, the defaults, and changes to it.

use crate::unit::{MiB, VcpuCount};
use serde::{Deserialize, Serialize};

/// The largest disk: 128 GiB.
pub const MAX_DISK: MiB = MiB::of(128 * 1024);
/// The smallest disk on which ext4 with a journal is of use.
pub const MIN_DISK: MiB = MiB::of(16);
/// The smallest memory in which a stock Debian kernel with an initrd comes up.
pub const MIN_MEMORY: MiB = MiB::of(128);

/// The resources of one VM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VmSpec {
    /// Virtual processors.
    pub vcpu: VcpuCount,
    /// Memory.
    pub memory: MiB,
    /// The size of the root disk; one over a larger image has the image's.
    pub overlay: MiB,
    /// The size of the work disk.
    pub work_disk: MiB,
    /// Whether the guest reaches beyond the bridge.
    pub nat: bool,
}

/// A spec that no VM can have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// Too little memory.
    #[error("{given} of memory is too little; give at least {min}", min = MIN_MEMORY)]
    Memory {
        /// What was asked for.
        given: MiB,
    },
    /// A disk outside the limits.
    #[error("a {disk} of {given} cannot be had; give {min} to {max}", min = MIN_DISK, max = MAX_DISK)]
    Disk {
        /// `work disk` or `root overlay`.
        disk: &'static str,
        /// What was asked for.
        given: MiB,
    },
    /// A disk would lose its end.
    #[error("the {disk} cannot shrink from {from} to {to}")]
    Shrink {
        /// `work disk` or `root overlay`.
        disk: &'static str,
        /// The size that it has.
        from: MiB,
        /// The size that was asked for.
        to: MiB,
    },
}

impl VmSpec {
    /// The defaults of section 3 of the design: 2 vCPU, 1024 MiB, 8 GiB and 8 GiB, NAT on.
    pub fn builtin_defaults() -> Self {
        Self {
            vcpu: VcpuCount::new(2).expect("2 is between 1 and 32"),
            memory: MiB::of(1024),
            overlay: MiB::of(8 * 1024),
            work_disk: MiB::of(8 * 1024),
            nat: true,
        }
    }

    /// Checks the limits that the types do not hold already.
    pub fn check(&self) -> Result<(), SpecError> {
        if self.memory < MIN_MEMORY {
            return Err(SpecError::Memory { given: self.memory });
        }
        for (disk, given) in [("work disk", self.work_disk), ("root overlay", self.overlay)] {
            if !(MIN_DISK..=MAX_DISK).contains(&given) {
                return Err(SpecError::Disk { disk, given });
            }
        }
        Ok(())
    }
}

/// What a request wants to have different; an absent field stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecChange {
    /// Virtual processors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vcpu: Option<VcpuCount>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<MiB>,
    /// The size of the root overlay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overlay: Option<MiB>,
    /// The size of the work disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work_disk: Option<MiB>,
    /// Whether the guest reaches beyond the bridge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<bool>,
}

impl SpecChange {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The defaults with this change made: the spec of a new VM.
    pub fn over_defaults(&self, defaults: &VmSpec) -> Result<VmSpec, SpecError> {
        let spec = VmSpec {
            vcpu: self.vcpu.unwrap_or(defaults.vcpu),
            memory: self.memory.unwrap_or(defaults.memory),
            overlay: self.overlay.unwrap_or(defaults.overlay),
            work_disk: self.work_disk.unwrap_or(defaults.work_disk),
            nat: self.nat.unwrap_or(defaults.nat),
        };
        spec.check()?;
        Ok(spec)
    }

    /// The spec of an existing VM with this change made; disks only grow.
    pub fn apply(&self, spec: &VmSpec) -> Result<VmSpec, SpecError> {
        let changed = self.over_defaults(spec)?;
        let disks = [
            ("work disk", spec.work_disk, changed.work_disk),
            ("root overlay", spec.overlay, changed.overlay),
        ];
        match disks.into_iter().find(|(_, from, to)| to < from) {
            Some((disk, from, to)) => Err(SpecError::Shrink { disk, from, to }),
            None => Ok(changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_those_of_the_design_and_pass_their_own_check() {
        let spec = VmSpec::builtin_defaults();
        assert_eq!((spec.vcpu.get(), spec.memory.get()), (2, 1024));
        assert_eq!(spec.check(), Ok(()));
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let change = SpecChange { memory: Some(MiB::of(512)), ..SpecChange::default() };
        let changed = change.apply(&VmSpec::builtin_defaults()).unwrap();
        assert_eq!(changed, VmSpec { memory: MiB::of(512), ..VmSpec::builtin_defaults() });
    }

    #[test]
    fn disks_grow_but_do_not_shrink() {
        let spec = VmSpec::builtin_defaults();
        let to = |work_disk| SpecChange { work_disk: Some(work_disk), ..SpecChange::default() };
        assert_eq!(to(MiB::of(9000)).apply(&spec).unwrap().work_disk, MiB::of(9000));
        let error = to(MiB::of(4096)).apply(&spec).unwrap_err();
        assert_eq!(error.to_string(), "the work disk cannot shrink from 8 GiB to 4 GiB");
    }

    #[test]
    fn limits_are_named() {
        let spec = VmSpec { work_disk: MiB::of(129 * 1024), ..VmSpec::builtin_defaults() };
        let message = spec.check().unwrap_err().to_string();
        assert_eq!(message, "a work disk of 129 GiB cannot be had; give 16 MiB to 128 GiB");
        let spec = VmSpec { memory: MiB::of(64), ..VmSpec::builtin_defaults() };
        assert!(spec.check().unwrap_err().to_string().contains("at least 128 MiB"));
    }
}
