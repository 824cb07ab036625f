//! The table of Firecracker's API accepts and refuses what Firecracker 1.12.1 was seen to.

use crate::fake_firecracker::table::{ENDPOINTS, Phase, SAMPLES, check};

#[test]
fn samples_before_the_start_are_judged_as_by_firecracker() {
    for (method, path, body, is_accepted) in SAMPLES {
        let verdict = check(method, path, body.as_bytes(), Phase::BeforeStart);
        assert_eq!(verdict.is_ok(), *is_accepted, "{method} {path} {body}: {verdict:?}");
    }
}

#[test]
fn what_configures_the_machine_is_refused_once_it_runs() {
    let is_query = |method: &str| method == "GET";
    for (method, path, body, _) in
        SAMPLES.iter().filter(|(method, .., ok)| *ok && !is_query(method))
    {
        let fault = check(method, path, body.as_bytes(), Phase::AfterStart).unwrap_err();
        assert!(fault.contains("after starting"), "{method} {path}: {fault}");
    }
}

#[test]
fn actions_have_their_own_phases() {
    let action = |word: &str, now| {
        let body = format!(r#"{{"action_type":"{word}"}}"#);
        check("PUT", "/actions", body.as_bytes(), now)
    };
    assert!(action("InstanceStart", Phase::BeforeStart).is_ok());
    assert!(action("InstanceStart", Phase::AfterStart).is_err());
    assert!(action("SendCtrlAltDel", Phase::BeforeStart).is_err());
    assert!(action("SendCtrlAltDel", Phase::AfterStart).is_ok());
}

#[test]
fn no_endpoint_is_listed_twice() {
    for (index, one) in ENDPOINTS.iter().enumerate() {
        let twin = ENDPOINTS[..index]
            .iter()
            .find(|other| (other.method, other.path) == (one.method, one.path));
        assert!(twin.is_none(), "{one:?}");
    }
}
