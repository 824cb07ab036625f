//! A VM's life, request by request.

use crate::client::Answer;
use crate::server::{Server, Setup};
use serde_json::{Value, json};

/// The events without what differs from run to run.
fn shape(answer: &Answer) -> String {
    let line = |event: &Value| match &event["phase"] {
        Value::String(phase) => format!("{} {phase}", event["event"].as_str().unwrap()),
        _ => event["event"].as_str().unwrap().to_owned(),
    };
    answer.events().iter().map(line).collect::<Vec<_>>().join("\n")
}

async fn show(server: &Server, name: &str) -> Value {
    let answer = server.get(&format!("/v1/vms/{name}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()
}

#[tokio::test]
async fn a_vm_lives_from_create_to_delete() {
    let server = Server::start().await;
    let created = server
        .ask("POST", "/v1/vms", r#"{"name":"otter","spec":{"memory":512},"start":{"wait":"ssh"}}"#)
        .await;
    insta::assert_snapshot!(shape(&created), @r"
    accepted
    begin prepare the host
    end prepare the host
    begin start the VMM
    end start the VMM
    begin configure the machine
    end configure the machine
    begin boot the kernel
    end boot the kernel
    begin wait for ssh
    end wait for ssh
    done
    ");
    let vm = created.outcome()["vm"].clone();
    assert_eq!(vm["state"], "running");
    assert_eq!(vm["readiness"], "ssh");
    assert_eq!(
        vm["spec"],
        json!({
            "vcpu": 2, "memory": 512, "overlay": 8192, "work_disk": 8192, "nat": true
        })
    );
    assert_eq!(server.get("/v1/vms").await.json()["vms"], json!([vm]));
    assert_eq!(show(&server, "ot").await, vm);
    assert_eq!(show(&server, vm["id"].as_str().unwrap()).await, vm);

    let ssh = server.get("/v1/vms/otter/ssh").await.json();
    assert_eq!((&ssh["user"], &ssh["address"]), (&json!("root"), &vm["ip"]));
    let stats = server.get("/v1/vms/otter/stats").await.json();
    assert!(stats["resident_bytes"].as_u64().unwrap() > 0, "{stats}");

    let set = server.ask("PATCH", "/v1/vms/otter", r#"{"vcpu":4,"nat":false}"#).await.outcome();
    assert_eq!((&set["vm"]["spec"]["vcpu"], &set["changed"]), (&json!(4), &json!(true)));

    let stopped = server.ask("POST", "/v1/vms/otter/stop", "").await;
    insta::assert_snapshot!(shape(&stopped), @r"
    accepted
    begin shut the guest down
    end shut the guest down
    begin clean up
    end clean up
    done
    ");
    assert_eq!(stopped.outcome()["vm"]["state"], "stopped");
    assert_eq!(server.ask("POST", "/v1/vms/otter/stop", "").await.outcome()["changed"], false);

    let started = server.ask("POST", "/v1/vms/otter/start", r#"{"wait":"none"}"#).await;
    insta::assert_snapshot!(shape(&started), @r"
    accepted
    begin prepare the host
    end prepare the host
    begin start the VMM
    end start the VMM
    begin configure the machine
    end configure the machine
    done
    ");
    let restarted = server.ask("POST", "/v1/vms/otter/restart", "{}").await.outcome();
    assert_eq!(restarted["vm"]["state"], "running");
    server.ask("POST", "/v1/vms/otter/kill", r#"{"signal":"SIGKILL"}"#).await.outcome();

    let deleted = server.ask("DELETE", "/v1/vms/otter", "").await.outcome();
    assert_eq!(deleted.get("vm"), None);
    assert_eq!(server.get("/v1/vms").await.json(), json!({"vms": []}));
    let audit = server.get("/v1/audit").await.json();
    assert_eq!(
        audit,
        json!({"audit": {"leaked": [], "missing": []}, "inventory": [], "ledger": []})
    );
}

#[tokio::test]
async fn a_vm_without_start_is_only_created_and_gets_a_name() {
    let server = Server::start().await;
    let vm = server.ask("POST", "/v1/vms", "").await.outcome()["vm"].clone();
    assert_eq!(vm["state"], "created");
    assert!(vm["name"].as_str().unwrap().contains('-'), "{vm}");
    let status = server.get("/v1/daemon").await.json();
    assert_eq!((&status["vms"], &status["running"]), (&json!(1), &json!(0)));
}

#[tokio::test]
async fn vms_are_listed_by_name() {
    let server = Server::start().await;
    for name in ["otter", "badger", "lynx"] {
        let body = json!({"name": name}).to_string();
        server.ask("POST", "/v1/vms", &body).await.outcome();
    }
    let list = server.get("/v1/vms").await.json();
    let names: Vec<&str> =
        list["vms"].as_array().unwrap().iter().map(|vm| vm["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["badger", "lynx", "otter"]);
}

#[tokio::test]
async fn a_new_server_takes_up_the_vms_of_the_old_one() {
    let mut server = Server::start().await;
    server.run_vm("otter").await;
    let before = show(&server, "otter").await;
    server.signal();
    let dir = server.ended().await;
    let server = Server::over(dir, Setup::default()).await;
    let after = show(&server, "otter").await;
    assert_eq!((&after["state"], &after["pid"]), (&before["state"], &before["pid"]));
    server.ask("POST", "/v1/vms/otter/stop", "").await.outcome();
}

#[tokio::test]
async fn the_daemon_tells_about_itself_and_its_image() {
    let server = Server::start().await;
    let version = server.get("/v1/version").await.json();
    assert_eq!(version["api"], banger_api::API_VERSION);
    assert_eq!(server.get("/v1/daemon").await.json()["version"], version);
    let bundle = server.get("/v1/bundle").await.json();
    assert_eq!((&bundle["problem"], &bundle["image"]["name"]), (&Value::Null, &json!("default")));
    assert_eq!(server.get("/v1/images").await.json()["images"][0]["name"], "default");
    assert_eq!(server.get("/openapi.json").await.json()["info"]["title"], "banger");
}
