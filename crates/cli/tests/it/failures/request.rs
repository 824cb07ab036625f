//! What cannot be done as it was asked.

use crate::simulated::Simulated;
use insta::assert_snapshot;

/// A host with two VMs, of which `otter` runs.
fn host() -> Simulated {
    let host = Simulated::new(&[]);
    host.does(&[
        &["vm", "create", "--name", "otter"],
        &["vm", "create", "--name", "otter-two", "--no-start"],
    ]);
    host
}

#[test]
fn a_name_that_nothing_has_or_several_begin_with_is_told_with_the_nearest() {
    let host = host();
    assert_snapshot!(host.refusal(&["vm", "show", "ottre"]), @r"
    error: no VM is called `ottre`
    hint: did you mean `otter`?
    ");
    assert_snapshot!(host.refusal(&["vm", "stop", "badger"]), @r"
    error: no VM is called `badger`
    hint: `banger vm list` shows all VMs
    ");
    assert_snapshot!(host.refusal(&["vm", "start", "ot"]), @r"
    error: `ot` could be any of `otter`, `otter-two`
    hint: give more of the name, or the whole id
    ");
    assert_snapshot!(host.refusal(&["vm", "create", "--image", "debain"]), @r"
    error: there is no image called `debain`
    hint: `banger image list` shows all images
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["image", "show", "defualt"]), @r"
    error: no image is called `defualt`
    hint: did you mean `default`?
    ");
}

#[test]
fn a_name_that_is_taken_is_told_with_what_frees_it() {
    let host = host();
    assert_snapshot!(host.refusal(&["vm", "create", "--name", "otter"]), @r"
    error: a VM called `otter` exists already
    hint: pick another name, or delete that VM with `banger vm delete otter`
    operation: [OP]
    ");
}

#[test]
fn a_disk_does_not_shrink() {
    let host = host();
    assert_snapshot!(host.refusal(&["vm", "set", "otter", "--disk-size", "4G"]), @r"
    error: the work disk cannot shrink from 8 GiB to 4 GiB
    hint: disks only grow: give a larger size, or make a new VM
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["vm", "set", "otter", "--overlay-size", "4G"]), @r"
    error: the root overlay cannot shrink from 8 GiB to 4 GiB
    hint: disks only grow: give a larger size, or make a new VM
    operation: [OP]
    ");
}

#[test]
fn sizes_that_no_vm_can_have_are_refused_before_anybody_is_asked() {
    // Nobody listens.
    let host = Simulated::absent();
    let mut all = String::new();
    for (flag, value) in [
        ("--memory", "0"),
        ("--memory", "-5"),
        ("--memory", "8GB"),
        ("--disk-size", "0"),
        ("--vcpu", "0"),
        ("--vcpu", "99"),
        ("--disk-size", "200G"),
        ("--name", "Not_A_Name"),
    ] {
        let said = host.banger(&["vm", "create", flag, value]);
        let Some(error) = said.strip_prefix("exit: 2\n--- stdout\n--- stderr\n") else {
            panic!("{said}")
        };
        all += error.lines().next().unwrap();
        all += "\n";
    }
    assert_snapshot!(all, @r"
    error: invalid value '0' for '--memory <SIZE>': a size must be at least 1 MiB
    error: invalid value '-5' for '--memory <SIZE>': `-5` is not a size; write it as `512M`, `512MiB`, `8G`, `8GiB`, or a bare number of MiB
    error: invalid value '8GB' for '--memory <SIZE>': `8GB` is not a size; write it as `512M`, `512MiB`, `8G`, `8GiB`, or a bare number of MiB
    error: invalid value '0' for '--disk-size <SIZE>': a size must be at least 1 MiB
    error: invalid value '0' for '--vcpu <N>': 0 vCPUs cannot be had; give 1 to 32
    error: invalid value '99' for '--vcpu <N>': 99 vCPUs cannot be had; give 1 to 32
    error: invalid value '200G' for '--disk-size <SIZE>': a work disk of 200 GiB cannot be had; give 16 MiB to 128 GiB
    error: invalid value 'Not_A_Name' for '--name <NAME>': `Not_A_Name` has 'N' in it; a name is made of a-z, 0-9 and `-`
    ");
}

#[test]
fn what_the_state_does_not_allow_is_told_with_what_would() {
    let host = host();
    assert_snapshot!(host.refusal(&["vm", "kill", "otter-two"]), @r"
    error: cannot kill `otter-two` while it is created
    hint: `banger vm start otter-two` starts it
    operation: [OP]
    ");
    assert_snapshot!(host.refusal(&["vm", "ssh", "otter-two"]), @r"
    error: `otter-two` cannot be entered: it is created
    hint: `banger vm start otter-two` boots it
    ");
}

#[test]
fn a_full_subnet_is_told_with_what_makes_room() {
    let host = Simulated::with("subnet = '10.0.0.1/30'\n", &[]);
    host.does(&[&["vm", "create", "--name", "otter"]]);
    assert_snapshot!(host.refusal(&["vm", "create"]), @r"
    error: all 1 addresses of 10.0.0.1/30 are taken
    hint: delete a VM, or set a `subnet` with a shorter prefix in the configuration file
    operation: [OP]
    ");
}
