//! The QEMU driver against a scripted control socket.

use crate::fake_qemu::{FakeQemu, GREETING, Step, after_negotiation, negotiation};
use crate::machine::{impatient, machine, patient};
use Step::{Hear, Pause, Say, Silence};
use banger_vmm::{Acceleration, Driver, MachineStatus, Qemu, VmmError};
use std::time::Duration;
use tokio::task::JoinSet;

const DONE: Step = Say(r#"{"return": {}, "id": $id}"#);

fn driver() -> Qemu {
    Qemu::new("/usr/bin/qemu-system-x86_64".into(), Acceleration::Emulation)
        .with_patience(patient())
}

async fn status_of(script: Vec<Step>) -> Result<MachineStatus, VmmError> {
    let fake = FakeQemu::start(vec![script]);
    driver().status(&fake.socket()).await
}

fn answer_to_status(answer: &'static str) -> Vec<Step> {
    after_negotiation([Hear("query-status"), Say(answer)])
}

#[tokio::test]
async fn a_boot_lets_the_processors_run() {
    let fake =
        FakeQemu::start(vec![after_negotiation([Hear(r#"{"execute":"cont","id":2}"#), DONE])]);
    driver().boot(&machine(fake.socket())).await.unwrap();
    fake.finished().await;
}

#[tokio::test]
async fn a_shutdown_presses_three_keys_at_once() {
    let keys = r#"{"execute":"send-key","arguments":{"keys":[{"type":"qcode","data":"ctrl"},{"type":"qcode","data":"alt"},{"type":"qcode","data":"delete"}]},"id":2}"#;
    let fake = FakeQemu::start(vec![after_negotiation([Hear(keys), DONE])]);
    driver().request_shutdown(&fake.socket()).await.unwrap();
    fake.finished().await;
}

#[tokio::test]
async fn run_states_become_statuses() {
    for (answer, status) in [
        (
            r#"{"return": {"status": "prelaunch", "running": false}, "id": $id}"#,
            MachineStatus::Waiting,
        ),
        (
            r#"{"return": {"status": "running", "running": true}, "id": $id}"#,
            MachineStatus::Running,
        ),
        (r#"{"return": {"status": "paused", "running": false}, "id": $id}"#, MachineStatus::Paused),
        (
            r#"{"return": {"status": "io-error", "running": false}, "id": $id}"#,
            MachineStatus::Paused,
        ),
    ] {
        assert_eq!(status_of(answer_to_status(answer)).await.unwrap(), status, "{answer}");
    }
}

#[tokio::test]
async fn an_unknown_run_state_is_shown() {
    let answer = r#"{"return": {"status": "dreaming"}, "id": $id}"#;
    let error = status_of(answer_to_status(answer)).await.unwrap_err();
    insta::assert_snapshot!(error, @r#"the VMM's answer to `query-status` makes no sense: "{\"status\":\"dreaming\"}""#);
}

#[tokio::test]
async fn a_late_greeting_is_awaited() {
    let mut script = answer_to_status(r#"{"return": {"status": "running"}, "id": $id}"#);
    script.insert(0, Pause(Duration::from_millis(300)));
    assert_eq!(status_of(script).await.unwrap(), MachineStatus::Running);
}

#[tokio::test]
async fn events_may_come_at_any_time() {
    let event = Say(r#"{"timestamp": {"seconds": 1, "microseconds": 2}, "event": "RESUME"}"#);
    let script = vec![
        Say(GREETING),
        Hear("qmp_capabilities"),
        event.clone(),
        DONE,
        event.clone(),
        Hear("query-status"),
        event.clone(),
        event,
        Say(r#"{"return": {"status": "running"}, "id": $id}"#),
    ];
    assert_eq!(status_of(script).await.unwrap(), MachineStatus::Running);
}

#[tokio::test]
async fn an_error_is_a_refusal_with_its_class_and_description() {
    let refusal =
        Say(r#"{"id": $id, "error": {"class": "GenericError", "desc": "no such block"}}"#);
    let fake = FakeQemu::start(vec![after_negotiation([Hear("cont"), refusal])]);
    let error = driver().boot(&machine(fake.socket())).await.unwrap_err();
    insta::assert_snapshot!(error, @"the VMM refused `cont` (GenericError): no such block");
}

#[tokio::test]
async fn an_answer_to_another_command_is_not_taken() {
    for answer in [
        r#"{"return": {"status": "running"}, "id": 99}"#,
        r#"{"error": {"class": "GenericError", "desc": "for someone else"}, "id": 99}"#,
    ] {
        let error = status_of(answer_to_status(answer)).await.unwrap_err();
        assert!(matches!(error, VmmError::Protocol { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn silence_ends_in_a_timeout_that_names_the_step() {
    let mut asked = JoinSet::new();
    for (script, step) in [
        (vec![Silence], "QMP greeting"),
        (vec![Say(GREETING), Silence], "qmp_capabilities"),
        (after_negotiation([Hear("query-status"), Silence]), "query-status"),
    ] {
        asked.spawn(async move {
            let fake = FakeQemu::start(vec![script]);
            let driver = driver().with_patience(impatient());
            (step, driver.status(&fake.socket()).await.unwrap_err())
        });
    }
    for (step, error) in asked.join_all().await {
        let expected = format!("the VMM did not answer `{step}` within 1.5s");
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test]
async fn a_vmm_that_hangs_up_is_reported_at_the_step() {
    for (script, step) in [
        (vec![], "QMP greeting"),
        (vec![Say(GREETING), Hear("qmp_capabilities")], "qmp_capabilities"),
        (after_negotiation([Hear("query-status")]), "query-status"),
        (negotiation(), "query-status"),
    ] {
        let error = status_of(script).await.unwrap_err();
        assert!(
            matches!(&error, VmmError::Closed { request, .. } if request == step),
            "{step}: {error:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_speak_the_protocol_is_recognised() {
    for line in ["HTTP/1.1 400 Bad Request", "{}", r#"{"return": {}, "id": 1}"#] {
        let error = status_of(vec![Say(line)]).await.unwrap_err();
        assert!(matches!(error, VmmError::Protocol { .. }), "{line}: {error:?}");
    }
}

#[tokio::test]
async fn a_busy_vmm_is_waited_for() {
    let answer = r#"{"return": {"status": "running"}, "id": $id}"#;
    let mut slow = answer_to_status(answer);
    slow.push(Pause(Duration::from_millis(200)));
    let fake = FakeQemu::start(vec![slow.clone(), slow.clone(), slow]);
    let (driver, socket) = (driver(), fake.socket());
    let both = tokio::join!(driver.status(&socket), driver.status(&socket), driver.status(&socket));
    for status in [both.0, both.1, both.2] {
        assert_eq!(status.unwrap(), MachineStatus::Running);
    }
    fake.finished().await;
}

#[tokio::test]
async fn a_socket_that_is_not_there_is_named() {
    let error = driver().status("/nonexistent/api.sock".as_ref()).await.unwrap_err();
    insta::assert_snapshot!(error, @"cannot connect to the VMM's control socket `/nonexistent/api.sock`");
}
