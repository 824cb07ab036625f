//! Images over HTTP.

use crate::server::Server;
use banger_host::Host;
use serde_json::json;
use std::time::Duration;

/// Longer than anything simulated takes.
const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_image_is_registered_shown_renamed_and_deleted() {
    let server = Server::start().await;
    let dir = tempfile::tempdir().unwrap();
    let rootfs = dir.path().join("dev.ext4");
    let mut bytes = vec![0; 4096];
    bytes[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    std::fs::write(&rootfs, bytes).unwrap();
    let body = json!({ "name": "dev", "rootfs": rootfs, "boot_args": ["quiet"] }).to_string();
    server.ask("POST", "/v1/images", &body).await.outcome();
    let again = server.ask("POST", "/v1/images", &body).await;
    assert_eq!((again.status, &again.json()["code"]), (409, &json!("name_taken")));

    let shown = server.get("/v1/images/dev").await.json();
    assert_eq!(shown["kind"], "unmanaged");
    assert_eq!(shown["rootfs"], json!(rootfs));
    assert_eq!(shown["boot_args"], json!(["quiet"]));
    assert_eq!(shown["problem"], json!(null));

    let vm = r#"{"name":"otter","image":"dev"}"#;
    server.ask("POST", "/v1/vms", vm).await.outcome();
    let renamed = server.ask("PATCH", "/v1/images/dev", r#"{"name":"prod"}"#).await.json();
    assert_eq!((&renamed["id"], &renamed["used_by"]), (&shown["id"], &json!(["otter"])));
    assert_eq!(server.get("/v1/vms/otter").await.json()["image"], "prod");
    let refused = server.ask("DELETE", "/v1/images/prod", "").await;
    assert_eq!((refused.status, &refused.json()["code"]), (409, &json!("image_in_use")));

    server.ask("DELETE", "/v1/vms/otter", "").await.outcome();
    server.ask("DELETE", "/v1/images/prod", "").await.outcome();
    let gone = server.get("/v1/images/prod").await;
    assert_eq!((gone.status, &gone.json()["code"]), (404, &json!("image_not_found")));
    assert!(rootfs.exists());
}

#[tokio::test]
async fn a_build_by_hand_is_saved_over_http_and_ends_with_its_clients_connection() {
    let server = Server::start().await;
    let body = r#"{"name":"dev","from":"default","by_hand":true}"#;
    let mut left = server.open("POST", "/v1/image-builds", body).await;
    left.until("\"enterable\",\"vm\":\"build-dev\"").await;
    // A client that is killed says nothing; its end of the connection is closed.
    drop(left);
    let gone = async {
        while server.get("/v1/vms").await.json()["vms"] != json!([]) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.expect("the build goes on without its client");
    assert_eq!(server.sim.inventory().unwrap(), []);
    assert_eq!(server.get("/v1/images/dev").await.status, 404);

    let mut saved = server.open("POST", "/v1/image-builds", body).await;
    let begun = saved.until("enterable").await;
    let op = begun.split("\"op_id\":\"").nth(1).unwrap().split('"').next().unwrap();
    let path = format!("/v1/image-builds/{op}/save");
    assert_eq!(server.ask("POST", &path, "").await.status, 202);
    saved.until("\"event\":\"done\"").await;
    assert_eq!(server.get("/v1/images/dev").await.json()["origin"], "built");
    let over = server.ask("POST", &path, "").await;
    assert_eq!((over.status, over.code()), (400, "invalid_request".to_owned()));
}
