//! Running programs over a session with OpenSSH.

use crate::scene::{LONG, Scene};
use banger_provision::{Call, Ended, Exit, Guest, SessionError, SshGuest};
use std::time::{Duration, Instant};

async fn run(guest: &SshGuest, call: Call) -> (Result<Ended, SessionError>, Vec<String>) {
    let mut lines = Vec::new();
    let ended = guest.run(call, &mut |line: &str| lines.push(line.to_owned())).await;
    (ended, lines)
}

async fn enter(scene: &Scene) -> SshGuest {
    SshGuest::connect(&scene.login(), LONG).await.unwrap()
}

#[tokio::test]
async fn a_program_says_its_lines_and_how_it_ended() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    let script = scene.executable("s", "#!/bin/sh\necho one\necho two >&2\nprintf three\nexit 7\n");
    let (ended, mut lines) = run(&guest, Call::new([script.to_str().unwrap()])).await;
    let ended = ended.unwrap();
    assert_eq!((ended.exit, ended.stdout), (Exit::Code(7), Vec::new()));
    // Two streams have no order between them.
    lines.sort();
    assert_eq!(lines, ["one", "three", "two"]);
    assert_eq!(ended.tail.len(), 3);
}

#[tokio::test]
async fn words_and_environment_arrive_as_they_were_given() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    let odd = ["a b", "$HOME", "it's", "*", "", "`x`", "ö\n"];
    let script = scene.executable("s", "#!/bin/sh\nfor a; do printf '%s|' \"$a\"; done\n");
    let argv = [script.to_str().unwrap()].into_iter().chain(odd);
    let (ended, lines) = run(&guest, Call::new(argv).kept()).await;
    let printed = String::from_utf8(ended.unwrap().stdout).unwrap();
    assert_eq!(printed, odd.map(|word| format!("{word}|")).concat());
    assert_eq!(lines, [""; 0]);

    let (ended, _) = run(&guest, Call::new(["env"]).env("OTTER", "a b").kept()).await;
    let printed = String::from_utf8(ended.unwrap().stdout).unwrap();
    let mut names: Vec<_> = printed.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["HOME", "LANG", "LC_ALL", "OTTER", "PATH"]);
}

#[tokio::test]
async fn a_program_that_is_not_there_and_one_that_is_killed() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    let (ended, _) = run(&guest, Call::new(["no-such-program"])).await;
    assert_eq!(ended.unwrap().exit, Exit::Code(127));
    let script = scene.executable("s", "#!/bin/sh\nkill -TERM $$\n");
    let (ended, _) = run(&guest, Call::new([script.to_str().unwrap()])).await;
    assert_eq!(ended.unwrap().exit, Exit::Signal("TERM".to_owned()));
}

#[tokio::test]
async fn much_output_arrives_whole() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    let (ended, _) = run(&guest, Call::new(["seq", "400000"]).kept()).await;
    let printed = String::from_utf8(ended.unwrap().stdout).unwrap();
    assert!(printed.ends_with("399999\n400000\n") && printed.lines().count() == 400_000);
    let (ended, lines) = run(&guest, Call::new(["seq", "100000"])).await;
    assert_eq!(lines.len(), 100_000);
    assert_eq!(ended.unwrap().tail.first().map(String::as_str), Some("99981"));
}

#[tokio::test]
async fn another_machine_is_not_taken_for_the_guest() {
    let scene = Scene::start();
    let refused = SshGuest::connect(&scene.login_to_another(), LONG).await.unwrap_err();
    let SessionError::HostKey { expected, found, .. } = &refused else { panic!("{refused:?}") };
    assert!(expected.starts_with("SHA256:") && found.starts_with("SHA256:") && expected != found);
}

#[tokio::test]
async fn a_key_that_nobody_let_in_is_refused() {
    let scene = Scene::start();
    let refused = SshGuest::connect(&scene.login_with_another(), LONG).await.unwrap_err();
    assert!(matches!(refused, SessionError::Refused { .. }), "{refused:?}");
}

#[tokio::test]
async fn nobody_at_the_address_is_an_error_of_its_own() {
    let mut scene = Scene::start();
    scene.end_server();
    let refused = SshGuest::connect(&scene.login(), LONG).await.unwrap_err();
    assert!(matches!(refused, SessionError::Connect { .. }), "{refused:?}");
}

#[tokio::test]
async fn a_connection_that_dies_is_noticed_at_once_and_by_the_next_program_too() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    // The parent of what a session runs is the server's process for that session.
    let script = scene
        .executable("s", &format!("#!/bin/sh\nkill -KILL $PPID\nexec {}\n", waiting().join(" ")));
    let since = Instant::now();
    let (ended, _) = run(&guest, Call::new([script.to_str().unwrap()])).await;
    assert!(matches!(ended, Err(SessionError::Broken { .. })), "{ended:?}");
    assert!(since.elapsed() < LONG);
    let (ended, _) = run(&guest, Call::new(["true"])).await;
    assert!(matches!(ended, Err(SessionError::Broken { .. })), "{ended:?}");
}

#[tokio::test]
async fn a_program_that_takes_too_long_is_given_up_and_the_session_goes_on() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    let waiting = waiting();
    let call = Call::new(waiting.each_ref().map(String::as_str));
    let (ended, _) = run(&guest, call.limit(Duration::from_millis(300))).await;
    let expected = format!("`{}` has not ended within 0 s", waiting.join(" "));
    assert_eq!(ended.unwrap_err().to_string(), expected);
    let (ended, lines) = run(&guest, Call::new(["echo", "on"])).await;
    assert_eq!((ended.unwrap().exit, lines), (Exit::Code(0), vec!["on".to_owned()]));
}

#[tokio::test]
async fn work_that_is_dropped_ends_the_session_with_the_guest() {
    let scene = Scene::start();
    let guest = enter(&scene).await;
    let begun = tokio::sync::Notify::new();
    let mut lines = |_: &str| begun.notify_one();
    let script =
        scene.executable("s", &format!("#!/bin/sh\necho begun\nexec {}\n", waiting().join(" ")));
    {
        let running = guest.run(Call::new([script.to_str().unwrap()]), &mut lines);
        tokio::select! {
            ended = running => panic!("{ended:?}"),
            () = begun.notified() => {}
        }
    }
    // The next program runs while nobody waits for the one before.
    let (ended, _) = run(&guest, Call::new(["true"])).await;
    assert!(ended.unwrap().exit.is_good());
}

/// A program that ends with the test and not before: what a session has left runs on.
fn waiting() -> [String; 5] {
    let test = format!("--pid={}", std::process::id());
    ["tail", "-s0.1", &test, "-f", "/dev/null"].map(str::to_owned)
}
