//! The server as the usual client sees it. Needs `dig`.

use crate::scene::Scene;
use banger_host::cmd::Cmd;
use std::time::Duration;

/// What `dig` prints with these arguments.
async fn dig(scene: &Scene, args: &[&str]) -> String {
    let port = scene.address.port().to_string();
    let args: Vec<String> = ["@127.0.0.1", "-p", &port, "+noall", "+answer", "+tries=1"]
        .iter()
        .chain(args)
        .map(|arg| (*arg).to_owned())
        .collect();
    let run = move || Cmd::new("dig").args(&args).timeout(Duration::from_secs(20)).run();
    let output = tokio::task::spawn_blocking(run).await.unwrap().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The status in the header that `dig` prints, and its flags.
async fn status(scene: &Scene, args: &[&str]) -> String {
    let text = dig(scene, &[args, &["+comments"]].concat()).await;
    let word = |begin: &str, end: char| {
        let rest = text.split(begin).nth(1).unwrap_or_else(|| panic!("{text}"));
        rest.split(end).next().unwrap().to_owned()
    };
    format!("{} {}", word("status: ", ','), word("flags: ", ';'))
}

#[tokio::test]
async fn dig_reads_every_answer() {
    let scene = Scene::start(&[("otter", 2)]).await;
    for how in ["+notcp", "+tcp", "+edns=0", "+noedns", "+bufsize=512"] {
        assert_eq!(
            dig(&scene, &[how, "+short", "App.otter.vm", "A"]).await,
            "172.16.0.2\n",
            "{how}"
        );
    }
    assert_eq!(dig(&scene, &["-x", "172.16.0.2", "+short"]).await, "otter.vm.\n");
    assert_eq!(
        dig(&scene, &["vm", "SOA", "+short"]).await,
        "vm. nobody.invalid. 1 3600 1200 604800 0\n"
    );
    let answer = dig(&scene, &["oTTer.VM", "ANY"]).await;
    assert_eq!(
        answer.split_ascii_whitespace().collect::<Vec<_>>(),
        ["oTTer.VM.", "5", "IN", "A", "172.16.0.2"]
    );
    scene.end().await;
}

#[tokio::test]
async fn dig_is_told_what_there_is_not() {
    let scene = Scene::start(&[("otter", 2)]).await;
    assert_eq!(status(&scene, &["otter.vm", "AAAA"]).await, "NOERROR qr aa rd");
    assert_eq!(status(&scene, &["lynx.vm"]).await, "NXDOMAIN qr aa rd");
    assert_eq!(status(&scene, &["example.org"]).await, "REFUSED qr rd");
    assert_eq!(status(&scene, &["version.bind", "CH", "TXT"]).await, "REFUSED qr rd");
    assert_eq!(status(&scene, &["+edns=1", "+noednsneg", "otter.vm"]).await, "BADVERS qr rd");
    let transfer = dig(&scene, &["vm", "AXFR"]).await;
    assert!(transfer.contains("Transfer failed"), "{transfer}");
    scene.end().await;
}
