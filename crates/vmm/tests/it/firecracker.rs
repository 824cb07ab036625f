//! The Firecracker driver against a fake that checks each request.

use crate::fake_firecracker::{FakeFirecracker, Fault};
use crate::fake_qemu::{FakeQemu, GREETING, Step};
use crate::machine::{impatient, machine, patient};
use banger_core::error::{ErrorCode, Explain};
use banger_vmm::{Driver, Firecracker, Machine, MachineStatus, VmmError};
use std::error::Error;
use tokio::task::JoinSet;

/// The requests of a boot, in order.
const BOOT: [&str; 7] = [
    "PUT /machine-config",
    "PUT /boot-source",
    "PUT /drives/root",
    "PUT /drives/work",
    "PUT /network-interfaces/eth0",
    "PUT /entropy",
    "PUT /actions",
];

fn driver() -> Firecracker {
    Firecracker::new("/usr/bin/firecracker".into()).with_patience(patient())
}

async fn boot(fake: &FakeFirecracker) -> Result<(), VmmError> {
    driver().boot(&machine(fake.socket())).await
}

#[test]
fn the_log_goes_to_standard_error_under_a_valid_id() {
    let launch = driver().launch(&machine("/run/otter/api.sock".into()));
    assert_eq!(launch.program, std::path::Path::new("/usr/bin/firecracker"));
    insta::assert_snapshot!(launch.args.join(" "), @"--api-sock /run/otter/api.sock --id b-1-t2 --level Info --log-path /dev/stderr --show-level");
}

#[tokio::test]
async fn a_boot_is_a_sequence_of_valid_requests() {
    let fake = FakeFirecracker::start();
    boot(&fake).await.unwrap();
    let seen: Vec<_> =
        fake.seen().into_iter().map(|seen| format!("{} {}", seen.name, seen.body)).collect();
    insta::assert_snapshot!(seen.join("\n"), @r#"
    PUT /machine-config {"mem_size_mib":1024,"smt":false,"vcpu_count":3}
    PUT /boot-source {"boot_args":"console=ttyS0 reboot=k panic=1 quiet loglevel=4 8250.nr_uarts=1 i8042.noaux i8042.nomux i8042.dumbkbd random.trust_cpu=on pci=off ro","initrd_path":"/vms/otter/initrd","kernel_image_path":"/bundle/vmlinux"}
    PUT /drives/root {"cache_type":"Writeback","drive_id":"root","io_engine":"Sync","is_read_only":false,"is_root_device":false,"path_on_host":"/vms/otter/root.img"}
    PUT /drives/work {"cache_type":"Writeback","drive_id":"work","io_engine":"Sync","is_read_only":false,"is_root_device":false,"path_on_host":"/vms/otter/work.img"}
    PUT /network-interfaces/eth0 {"guest_mac":"06:00:ac:10:00:02","host_dev_name":"b_1.t2","iface_id":"eth0"}
    PUT /entropy {}
    PUT /actions {"action_type":"InstanceStart"}
    "#);
    assert_eq!(fake.names(), BOOT);
}

#[tokio::test]
async fn the_status_follows_the_machine() {
    let fake = FakeFirecracker::start();
    assert_eq!(driver().status(&fake.socket()).await.unwrap(), MachineStatus::Waiting);
    boot(&fake).await.unwrap();
    assert_eq!(driver().status(&fake.socket()).await.unwrap(), MachineStatus::Running);
}

#[tokio::test]
async fn a_shutdown_presses_ctrl_alt_del_once_the_machine_runs() {
    let fake = FakeFirecracker::start();
    let error = driver().request_shutdown(&fake.socket()).await.unwrap_err();
    assert!(error.to_string().contains("before starting"), "{error}");
    boot(&fake).await.unwrap();
    driver().request_shutdown(&fake.socket()).await.unwrap();
    assert_eq!(fake.seen().last().unwrap().body["action_type"], "SendCtrlAltDel");
}

#[tokio::test]
async fn a_second_boot_is_refused_in_the_vmms_words() {
    let fake = FakeFirecracker::start();
    boot(&fake).await.unwrap();
    let error = boot(&fake).await.unwrap_err();
    insta::assert_snapshot!(error, @"the VMM refused `PUT /machine-config` (400): The requested operation is not supported after starting the microVM");
    assert_eq!(error.code(), ErrorCode::Vmm);
}

#[tokio::test]
async fn each_refused_request_ends_the_boot_with_its_message() {
    for (index, request) in BOOT.into_iter().enumerate() {
        let fake = FakeFirecracker::start_with(request, Fault::Refuse("no room at the inn"));
        let error = boot(&fake).await.unwrap_err();
        let VmmError::Refused { request: refused, status, message } = &error else {
            panic!("{request}: {error:?}");
        };
        assert_eq!((refused.as_str(), status.as_str()), (request, "400"));
        assert_eq!(message, "no room at the inn");
        assert_eq!(fake.names(), BOOT[..=index], "nothing is asked for after a refusal");
    }
}

#[tokio::test]
async fn a_refusal_without_a_fault_message_shows_what_came_instead() {
    let fake = FakeFirecracker::start_with("PUT /entropy", Fault::RefuseInAnotherTongue);
    let error = boot(&fake).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"the VMM refused `PUT /entropy` (500): "<h1>Non!</h1>""#);
}

#[tokio::test]
async fn a_request_that_hangs_runs_into_its_own_limit() {
    let mut boots = JoinSet::new();
    for request in BOOT {
        boots.spawn(async move {
            let fake = FakeFirecracker::start_with(request, Fault::Hang);
            let driver = driver().with_patience(impatient());
            (request, driver.boot(&machine(fake.socket())).await.unwrap_err())
        });
    }
    for (request, error) in boots.join_all().await {
        let limit = if request == "PUT /actions" { impatient().start } else { impatient().answer };
        let expected = format!("the VMM did not answer `{request}` within {limit:?}");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_vmm_that_dies_mid_sequence_is_reported_at_the_request() {
    for request in BOOT {
        let fake = FakeFirecracker::start_with(request, Fault::Die);
        let error = boot(&fake).await.unwrap_err();
        assert!(
            matches!(&error, VmmError::Closed { request: open, .. } if open == request),
            "{error:?}"
        );
        assert!(error.hints().iter().any(|hint| hint.contains("vmm.log")));
    }
}

#[tokio::test]
async fn a_dead_vmm_cannot_be_connected_to() {
    let fake = FakeFirecracker::start_with("PUT /boot-source", Fault::Die);
    let socket = fake.socket();
    boot(&fake).await.unwrap_err();
    drop(fake);
    let error = driver().status(&socket).await.unwrap_err();
    assert!(matches!(&error, VmmError::Connect { path, .. } if *path == socket), "{error:?}");
    assert!(error.source().is_some());
}

#[tokio::test]
async fn an_answer_that_is_no_json_is_shown() {
    let fake = FakeFirecracker::start_with("GET /", Fault::Garble);
    let error = driver().status(&fake.socket()).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"the VMM's answer to `GET /` makes no sense: "\u{7}not json""#);
}

#[tokio::test]
async fn a_server_that_does_not_speak_http_is_recognised() {
    let fake = FakeQemu::start(vec![vec![Step::Say(GREETING), Step::Silence]]);
    let error = driver().status(&fake.socket()).await.unwrap_err();
    assert!(matches!(error, VmmError::Protocol { .. }), "{error:?}");
    insta::assert_snapshot!(error, @"the VMM's answer to `GET /` makes no sense: it is not HTTP");
}

#[tokio::test]
async fn a_request_that_the_api_does_not_allow_would_be_noticed() {
    let fake = FakeFirecracker::start();
    let mut machine: Machine = machine(fake.socket());
    machine.disks[1].id = "work-disk";
    let error = driver().boot(&machine).await.unwrap_err();
    assert!(error.to_string().contains("PUT /drives/work-disk"), "{error}");
}
