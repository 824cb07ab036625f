//! What stands between VMs and the world, seen through the whole daemon over a simulated host.

use crate::server::{Server, Setup};
use banger_core::resource::Gatekeeper;
use serde_json::{Value, json};

/// A host whose iptables drop what they do not know.
async fn obstructed() -> Server {
    Server::with_sim(|sim| sim.gatekeepers = vec![Gatekeeper::IptablesNft]).await
}

/// The checks of the scope `network`, as name and verdict.
async fn checks(server: &Server) -> Vec<(String, String)> {
    let report = server.get("/v1/doctor?scope=network").await.json();
    let field = |check: &Value, key: &str| check[key].as_str().unwrap().to_owned();
    let checks = report["checks"].as_array().unwrap();
    checks.iter().map(|check| (field(check, "name"), field(check, "verdict"))).collect()
}

/// The verdict on other firewalls.
async fn firewall(server: &Server) -> String {
    checks(server).await.into_iter().find(|(name, _)| name == "firewall").unwrap().1
}

#[tokio::test]
async fn an_open_host_passes_and_a_firewall_fails() {
    let server = Server::start().await;
    let names: Vec<String> = checks(&server).await.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["forwarding", "firewall", "way", "subnet"]);
    assert_eq!(firewall(&server).await, "pass");
    assert_eq!(firewall(&obstructed().await).await, "fail");
}

#[tokio::test]
async fn a_firewall_keeps_no_vm_from_starting() {
    let server = obstructed().await;
    server.run_vm("otter").await;
    let started = server.ask("POST", "/v1/vms/otter/start", "").await.outcome();
    assert_eq!((&started["vm"]["state"], &started["changed"]), (&json!("running"), &json!(false)));
}

async fn done(server: &Server, verb: &str) -> Value {
    let answer = server.ask("POST", &format!("/v1/doctor/{verb}"), "").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["done"].clone()
}

#[tokio::test]
async fn a_fix_is_in_the_ledger_outlives_the_daemon_and_is_undone() {
    let mut server = obstructed().await;
    let mark = server.get("/v1/daemon").await.json()["instance"].as_str().unwrap().to_owned();
    let fixed = format!(
        "put rules with the comment `banger:{mark}` in front of those of iptables-nft, for what VMs \
         on `banger0` exchange with the world; `iptables-nft -S` shows them"
    );
    assert_eq!(done(&server, "fix").await, json!([fixed]));
    assert_eq!(firewall(&server).await, "pass");
    assert_eq!(done(&server, "fix").await, json!([]), "there is nothing left to do");
    server.signal();
    let dir = server.ended().await;
    let setup =
        Setup { sim: |sim| sim.gatekeepers = vec![Gatekeeper::IptablesNft], ..Setup::default() };
    let server = Server::over(dir, setup).await;
    assert_eq!(firewall(&server).await, "pass");
    let audit = server.get("/v1/audit").await.json();
    assert_eq!(audit["audit"], json!({"leaked": [], "missing": []}));
    assert_eq!(audit["inventory"].as_array().unwrap().len(), 1);
    let undone = format!("took the rules with the comment `banger:{mark}` out of iptables-nft");
    assert_eq!(done(&server, "undo").await, json!([undone]));
    assert_eq!(firewall(&server).await, "fail");
    assert_eq!(done(&server, "undo").await, json!([]));
    assert_eq!(server.get("/v1/audit").await.json()["inventory"], json!([]));
}
