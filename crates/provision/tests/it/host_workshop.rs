//! The steps of a build, against a server on loopback and package managers that only say what they
//! were told.

use crate::scene::{LONG, Scene};
use banger_provision::{
    ModulesTree, PackageList, PackageManager, ProvisionError, Script, SshGuest, Workshop,
};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

/// An `apt-get` that fails for one package as apt does.
const APT: &str = "#!/bin/sh
echo \"told: $*\"
[ \"$DEBIAN_FRONTEND\" = noninteractive ] || echo 'questions will be asked'
case \"$*\" in
  *missing*) echo 'E: Unable to locate package missing' >&2; exit 100;;
  *huge*) echo 'E: You don'\"'\"'t have enough free space in /var/cache/apt/archives/.' >&2; exit 100;;
esac
";

/// Runs steps with all lines kept.
macro_rules! work {
    ($scene:expr, |$workshop:ident| $steps:expr) => {{
        let guest = SshGuest::connect(&$scene.login(), LONG).await.unwrap();
        let mut lines: Vec<String> = Vec::new();
        let result = {
            let mut sink = |line: &str| lines.push(line.to_owned());
            let mut $workshop = Workshop::new(&guest, &mut sink);
            $steps
        };
        (result, lines)
    }};
}

#[tokio::test]
async fn packages_are_installed_by_the_manager_that_is_there() {
    let scene = Scene::start();
    scene.executable("bin/apt-get", APT);
    let list = PackageList::parse("curl git").unwrap();
    let (result, lines) = work!(scene, |workshop| {
        let manager = workshop.manager().await.unwrap();
        assert_eq!(manager, Some(PackageManager::Apt));
        workshop.install(PackageManager::Apt, &list).await
    });
    result.unwrap();
    let told: Vec<_> = lines.iter().filter(|line| line.starts_with("told:")).collect();
    assert!(told[0].ends_with("--yes update"), "{told:?}");
    assert!(told[1].ends_with("install --no-install-recommends curl git"), "{told:?}");
    assert!(!lines.iter().any(|line| line.contains("questions")), "{lines:?}");
}

#[tokio::test]
async fn a_package_that_is_not_to_be_had_is_named_in_the_last_lines() {
    let scene = Scene::start();
    scene.executable("bin/apt-get", APT);
    let list = PackageList::parse("missing").unwrap();
    let (result, _) = work!(scene, |w| w.install(PackageManager::Apt, &list).await);
    let error = result.unwrap_err();
    assert_eq!(
        error.to_string(),
        "could not install the packages: `apt-get` ended with exit code 100"
    );
    assert_eq!(error.tail().last().unwrap(), "E: Unable to locate package missing");
    let list = PackageList::parse("huge").unwrap();
    let (result, _) = work!(scene, |w| w.install(PackageManager::Apt, &list).await);
    assert!(result.unwrap_err().is_disk_full());
}

fn script(path: PathBuf) -> Script {
    Script { bytes: fs::read(&path).unwrap(), path }
}

#[tokio::test]
async fn a_script_runs_in_its_own_language_and_its_code_is_told() {
    let scene = Scene::start();
    let good = scene.executable("good", "#!/usr/bin/perl\nprint \"perl $ENV{HOME}\\n\";\n");
    let good = script(good);
    let (result, lines) = work!(scene, |w| w.script(&good, 1).await);
    result.unwrap();
    assert_eq!(lines.last().unwrap(), "perl /root");
    // Without a first line that names one it is a shell script, and need not be executable here.
    let bad = scene.path("bad");
    fs::write(&bad, "echo trying\necho giving up >&2\nexit 3\n").unwrap();
    let bad = script(bad);
    let (result, _) = work!(scene, |w| w.script(&bad, 2).await);
    let error = result.unwrap_err();
    assert!(error.to_string().ends_with("`/var/tmp/banger-build/script-2` ended with exit code 3"));
    let ProvisionError::Failed { tail, .. } = error else { panic!("{error:?}") };
    assert!(tail.contains(&"giving up".to_owned()), "{tail:?}");
}

#[tokio::test]
async fn files_and_trees_arrive_at_their_places() {
    let scene = Scene::start();
    let tree = scene.path("tree");
    fs::create_dir_all(tree.join("sub")).unwrap();
    // Larger than a window of the connection, and odd.
    let large: Vec<u8> = (0..5_000_003u32).map(|n| n.to_le_bytes()[0]).collect();
    fs::write(tree.join("sub/large"), &large).unwrap();
    fs::set_permissions(tree.join("sub/large"), fs::Permissions::from_mode(0o4711)).unwrap();
    let file = scene.path("file");
    fs::write(&file, "content").unwrap();
    let target = scene.path("target");
    let to = |name: &str| target.join(name).to_str().unwrap().to_owned();
    let (result, _) = work!(scene, |w| async {
        w.copy(&tree, &to("tree")).await?;
        w.copy(&file, &to("new-name")).await?;
        w.copy(&file, &to("dir/")).await
    }
    .await);
    result.unwrap();
    let arrived = target.join("tree/sub/large");
    assert!(fs::read(&arrived).unwrap() == large);
    let meta = fs::metadata(&arrived).unwrap();
    assert_eq!((meta.mode() & 0o7777, meta.uid()), (0o4711, 0));
    assert_eq!(fs::read_to_string(target.join("new-name")).unwrap(), "content");
    assert_eq!(fs::read_to_string(target.join("dir/file")).unwrap(), "content");

    let (result, _) = work!(scene, |w| w.copy(&file, "/a/../b").await);
    assert!(matches!(result, Err(ProvisionError::Place { .. })), "{result:?}");
    let (result, _) = work!(scene, |w| w.copy(&scene.path("no"), "/a").await);
    assert!(matches!(result, Err(ProvisionError::Upload(_))), "{result:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_read_ends_the_upload() {
    let scene = Scene::start();
    let tree = scene.path("tree");
    fs::create_dir(&tree).unwrap();
    fs::write(tree.join("a"), vec![1; 300_000]).unwrap();
    std::os::unix::net::UnixListener::bind(tree.join("b")).unwrap();
    let target = scene.path("target");
    let (result, _) = work!(scene, |w| w.copy(&tree, target.to_str().unwrap()).await);
    let error = result.unwrap_err();
    assert!(banger_core::error::chain(&error).contains("could not send"), "{error:?}");
}

#[tokio::test]
async fn modules_need_depmod() {
    let scene = Scene::start();
    let release = scene.path("lib/modules/6.1.0-test");
    fs::create_dir_all(release.join("kernel")).unwrap();
    fs::write(release.join("kernel/otter.ko"), "ELF").unwrap();
    let tree = ModulesTree::open(&scene.path("")).unwrap();
    // The machine's own modules are not to be touched.
    scene.executable("bin/mkdir", "#!/bin/sh\necho \"told: mkdir $*\"\n");
    scene.executable("bin/tar", "#!/bin/sh\necho \"told: tar $*\"\nexec /bin/tar -t\n");
    scene.executable("bin/depmod", "#!/bin/sh\necho \"told: depmod $*\"\n");
    let (result, lines) = work!(scene, |w| w.modules(&tree).await);
    result.unwrap();
    let said: Vec<_> = lines.iter().filter(|line| !line.starts_with('$')).cloned().collect();
    assert_eq!(
        said,
        [
            "told: mkdir -p /lib/modules/6.1.0-test",
            "told: tar -x -f - -C /lib/modules/6.1.0-test",
            "kernel",
            "kernel/otter.ko",
            "told: depmod -a 6.1.0-test"
        ]
    );
    scene.executable("bin/depmod", "#!/bin/sh\nexit 1\n");
    let (result, _) = work!(scene, |w| w.modules(&tree).await);
    assert!(matches!(result, Err(ProvisionError::Failed { .. })), "{result:?}");
}

#[tokio::test]
async fn what_is_installed_is_read_back_the_same_twice() {
    let scene = Scene::start();
    let (result, _) = work!(scene, |w| async {
        let first = w.installed(PackageManager::Apt).await?;
        Ok::<_, ProvisionError>((first, w.installed(PackageManager::Apt).await?))
    }
    .await);
    // The machine is a Debian, as the tasks demand.
    let (first, second) = result.unwrap();
    assert!(first.iter().any(|package| package.name == "dpkg" && !package.version.is_empty()));
    assert_eq!(first, second);
    let (result, _) = work!(scene, |w| w.distribution().await);
    assert_eq!(result.unwrap().id, "debian");
}
