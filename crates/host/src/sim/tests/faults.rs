//! Faults: what the call returns, and what is there afterwards.

use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn a_fault_fails_its_call_and_no_other() {
    let lab = Lab::new();
    let host = lab.open_with(|options| options.faults = fault("ensure:tap"));
    let (bridge, tap) = (lab.resource(1, Role::Bridge), lab.resource(1, Role::Tap));
    assert_eq!(host.ensure(&bridge).unwrap(), Change::Changed);
    let error = host.ensure(&tap).unwrap_err();
    let name = lab.layout.tap(&vm_id(1));
    assert_eq!(error.to_string(), format!("simulated fault: ensure `{name}`"));
    assert_eq!(roles(&host), [Role::Bridge]);
    assert_eq!(host.ensure(&tap).unwrap(), Change::Changed);
}

#[test]
fn a_lasting_fault_fails_until_the_faults_are_replaced() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    host.set_faults(fault("remove:tap:always"));
    for _ in 0..3 {
        assert!(matches!(
            host.remove(&lab.resource(1, Role::Tap)),
            Err(HostError::Injected { action: "remove", .. })
        ));
    }
    assert!(roles(&host).contains(&Role::Tap));
    host.set_faults(Vec::new());
    assert_eq!(host.remove(&lab.resource(1, Role::Tap)).unwrap(), Change::Changed);
}

#[test]
fn a_late_fault_leaves_the_object_there() {
    let lab = Lab::new();
    let host = lab.open_with(|options| options.faults = fault("fail-after:bridge"));
    assert!(matches!(host.ensure(&lab.resource(1, Role::Bridge)), Err(HostError::Injected { .. })));
    assert_eq!(roles(&host), [Role::Bridge]);
}

#[test]
fn every_verb_can_fail() {
    let lab = Lab::new();
    let host = lab.open();
    lab.start(&host, 1);
    let vmm = lab.vmm(1);
    host.set_faults(fault("inventory,boot,shutdown,signal"));
    assert!(matches!(host.inventory(), Err(HostError::Injected { action: "inventory", .. })));
    assert!(matches!(host.boot(&vmm.api_socket), Err(HostError::Injected { .. })));
    assert!(!host.is_booted(&vmm.api_socket));
    host.boot(&vmm.api_socket).unwrap();
    assert!(matches!(host.request_shutdown(&vmm.api_socket), Err(HostError::Injected { .. })));
    assert!(matches!(host.signal(&vmm, Signal::KILL), Err(HostError::Injected { .. })));
    assert!(host.find(&vmm).unwrap().is_some());
}

#[tokio::test]
async fn after_a_crash_everything_is_an_error_and_the_objects_are_there() {
    for (text, bridges) in [("crash-before:2", 0), ("crash-after:2", 1)] {
        let lab = Lab::new();
        let host = lab.open_with(|options| options.faults = fault(text));
        let hooked = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&hooked);
        host.on_crash(move || {
            counter.fetch_add(1, Ordering::Relaxed);
        });
        let [table, bridge] = &lab.network()[..] else { panic!("two objects are shared") };
        assert_eq!(host.ensure(table).unwrap(), Change::Changed);
        assert!(!host.is_crashed());
        assert!(host.ensure(bridge).is_err());
        assert!(host.is_crashed());

        let vmm = lab.vmm(1);
        let message = host.inventory().unwrap_err().to_string();
        assert!(message.ends_with("the simulated daemon has crashed"), "{message}");
        assert!(host.ensure(bridge).is_err() && host.remove(table).is_err());
        assert!(host.find(&vmm).is_err() && host.exited(&vmm).is_err());
        assert!(host.signal(&vmm, Signal::KILL).is_err());
        assert!(host.boot(&vmm.api_socket).is_err());
        assert_eq!((hooked.load(Ordering::Relaxed), host.calls()), (1, 2));

        let next = lab.open();
        let found = roles(&next).iter().filter(|role| **role == Role::Bridge).count();
        assert_eq!(found, bridges, "{text}");
    }
}

/// How a test walks through every step: count the calls of a run that goes well, then fail each.
#[test]
fn each_call_of_a_start_can_fail_in_turn() {
    let counted = Lab::new();
    let host = counted.open();
    counted.start(&host, 1);
    for n in 1..=host.calls() {
        let lab = Lab::new();
        let host = lab.open_with(|options| {
            options.faults = vec![Fault::new(Effect::Fail).on(Verb::Ensure).nth(n)];
        });
        let all = lab.network().into_iter().chain(lab.plan(1));
        let done = all.map_while(|resource| host.ensure(&resource).ok()).count();
        assert_eq!((done, roles(&host).len()), (n - 1, n - 1));
    }
}
