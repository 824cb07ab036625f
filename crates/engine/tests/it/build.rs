//! Building images on a simulated host: each step fails, each is cancelled, and the daemon is killed
//! at each. Nothing is left then, or a whole image.

use crate::world::{IMAGES, LONG, World, error, finish, new_vm};
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::state::VmState;
use banger_core::vm::{OverlayMethod, Purpose};
use banger_engine::{BuildCopy, BuildImage, EngineError, ImageBuildError, Progress};
use banger_image::initrd::GUEST_MODULES;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use std::fs;
use std::path::PathBuf;

/// More calls than a build makes.
const MOST: usize = 200;

/// A build with everything that one can have.
pub(crate) fn request(world: &World, name: &str) -> BuildImage {
    let file = |name: &str, text: &str| -> PathBuf {
        let path = world.path(name);
        fs::write(&path, text).unwrap();
        path
    };
    let modules = world.path("lib/modules/6.1.0-test");
    fs::create_dir_all(modules.join("kernel")).unwrap();
    fs::write(modules.join("kernel/otter.ko"), "ELF").unwrap();
    BuildImage {
        name: name.parse().unwrap(),
        from: None,
        package_file: Some(file("list", "# tools\nGit\ncurl\ngit\n")),
        packages: vec!["make".parse().unwrap()],
        size: Some("6G".parse().unwrap()),
        modules: Some(modules),
        kernel: None,
        initrd: None,
        scripts: vec![file("script", "#!/bin/sh\n")],
        copies: vec![BuildCopy { from: file("motd", "hello\n"), to: "/etc/motd".to_owned() }],
        spec: Default::default(),
        by_hand: false,
        keep_on_failure: false,
    }
}

/// A build that keeps its VM when it fails.
pub(crate) fn keeping(world: &World) -> BuildImage {
    BuildImage { keep_on_failure: true, ..request(world, "dev") }
}

async fn build(world: &World, name: &str) -> Result<(), EngineError> {
    match finish(world.engine.build_image(request(world, name))).await {
        Ok(_) => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

/// There is no VM, and of images only those with these names; each has one object.
pub(crate) async fn assert_images(world: &World, names: &[&str], context: &str) {
    world.assert_agree(context).await;
    assert_eq!(world.engine.list(), Vec::new(), "{context}");
    let objects = world.objects();
    assert_eq!(objects.len(), names.len(), "{context}: {objects:?}");
    assert!(objects.iter().all(|object| object.ends_with("/image_dir")), "{context}: {objects:?}");
    let found: Vec<String> =
        world.engine.images().iter().map(|view| view.record.name.to_string()).collect();
    let wanted: Vec<&str> = names.iter().copied().chain(["default"]).collect();
    assert_eq!(found.len(), wanted.len(), "{context}: {found:?}");
    assert!(wanted.iter().all(|name| found.iter().any(|found| found == name)), "{context}");
    assert_eq!(world.files(IMAGES).len(), names.len(), "{context}: {:?}", world.files(IMAGES));
}

#[tokio::test]
async fn a_build_ends_with_an_image_with_its_documents_from_which_vms_boot() {
    let world = World::new().await;
    let outcome = finish(world.engine.build_image(request(&world, "dev"))).await.unwrap();
    let phases: Vec<String> = outcome.timings.iter().map(|(phase, _)| phase.to_string()).collect();
    for phase in ["wait for ssh", "install the packages", "shut the guest down"] {
        assert!(phases.contains(&phase.to_owned()), "{phases:?}");
    }
    assert_images(&world, &["dev"], "built").await;

    let image = world.engine.image("dev").unwrap();
    assert!(image.problem.is_none(), "{:?}", image.problem);
    let read = |suffix: &str| -> serde_json::Value {
        let path = format!("{}{suffix}", image.record.rootfs.display());
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    };
    let manifest = read(".packages.json");
    assert_eq!(manifest["request"]["packages"], serde_json::json!(["curl", "git", "make"]));
    let installed = manifest["packages"].as_array().unwrap();
    let names: Vec<_> = installed.iter().map(|package| package["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["base-files", "curl", "dpkg", "git", "make"]);
    assert_eq!(manifest["base"]["image"], "default");
    assert_eq!(manifest["modules"]["releases"], serde_json::json!(["6.1.0-test"]));
    assert_eq!(manifest["copies"][0]["to"], "/etc/motd");
    assert_eq!(read(".spdx.json")["packages"].as_array().unwrap().len(), 6);

    assert_eq!(image.stale, None);
    fs::write(world.path("list"), "git\nCURL # in another order\n").unwrap();
    assert_eq!(world.engine.image("dev").unwrap().stale, None);
    fs::write(world.path("list"), "git\ncurl\nvim\n").unwrap();
    let stale = world.engine.image("dev").unwrap().stale.unwrap();
    assert!(stale.ends_with("asks for other packages than when it was built"), "{stale}");

    let mut otter = new_vm("otter");
    otter.image = Some("dev".parse().unwrap());
    finish(world.engine.create(otter)).await.unwrap();
    let world = world.restart().await;
    assert_eq!(world.state("otter"), VmState::Running);
    world.delete("otter").await.unwrap();
    assert_images(&world, &["dev"], "restarted").await;
    finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
    assert_images(&world, &[], "deleted").await;
}

#[tokio::test]
async fn a_build_that_fails_at_any_step_leaves_its_log_and_nothing_else() {
    // Verb, how many calls there are at most, and how many of those are to end the build at least. A
    // cache that stays is no reason to, nor is a guest that cannot be asked to end and is killed.
    for (verb, most, least) in [("ensure", 20, 8), ("work", 60, 22), ("boot", 2, 1)] {
        let mut failures = 0;
        for n in 1..=most {
            let context = format!("{verb}:{n}");
            let world = World::new().await;
            world.faults(&context);
            let result = build(&world, "dev").await;
            world.faults("");
            if result.is_ok() {
                assert_images(&world, &["dev"], &context).await;
                continue;
            }
            failures += 1;
            let error = result.unwrap_err();
            let EngineError::ImageBuild(ImageBuildError::Failed { log_path, kept, .. }) = &error
            else {
                panic!("{context}: {error:?}");
            };
            assert!(log_path.exists() && kept.is_none(), "{context}");
            assert_images(&world, &[], &context).await;
        }
        assert!(failures >= least, "{verb}: only {failures} steps were reached");
    }
}

/// Kills the daemon at each call of the verb, of which there are so many at least. Only towards the
/// end of a build there is an image already.
async fn kill_at_each(
    verb: &str,
    least: usize,
    ends_whole: bool,
    request: fn(&World) -> BuildImage,
) {
    for effect in ["crash-before", "crash-after"] {
        let (mut crashes, mut whole) = (0, 0);
        for n in 1..MOST {
            let context = format!("{effect}:{verb}:{n}");
            let world = World::new().await;
            world.faults(&context);
            drop(finish(world.engine.build_image(request(&world))).await);
            if !world.host.is_crashed() {
                break;
            }
            crashes += 1;
            let world = world.restart().await;
            let made = world.engine.image("dev");
            if let Ok(image) = &made {
                assert!(image.problem.is_none(), "{context}: {:?}", image.problem);
                whole += 1;
            }
            let names: &[&str] = if made.is_ok() { &["dev"] } else { &[] };
            assert_images(&world, names, &context).await;
        }
        assert!(crashes >= least, "{effect}:{verb}: only {crashes} steps were reached");
        assert_eq!(whole > 0, ends_whole, "{effect}:{verb}: {whole} of {crashes}");
    }
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_a_builds_vm_is_made_leaves_nothing() {
    kill_at_each("ensure", 8, false, |world| request(world, "dev")).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_at_any_step_in_the_guest_leaves_nothing() {
    kill_at_each("work", 30, false, |world| request(world, "dev")).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_while_a_builds_vm_goes_leaves_nothing_or_a_whole_image() {
    kill_at_each("remove", 8, true, |world| request(world, "dev")).await;
}

#[tokio::test]
async fn a_daemon_that_is_killed_keeps_no_vm_of_a_build_that_would_have_kept_its_own() {
    kill_at_each("work", 30, false, keeping).await;
    kill_at_each("remove", 8, true, keeping).await;
}

#[tokio::test]
async fn the_second_build_of_a_name_is_refused_at_once_and_one_of_another_name_is_not() {
    let world = World::new().await;
    let first = world.engine.build_image(request(&world, "dev"));
    let refused = error(finish(world.engine.build_image(request(&world, "dev"))).await);
    assert_eq!(refused.code(), ErrorCode::NameTaken, "{refused}");
    let other = world.engine.build_image(request(&world, "other"));
    finish(other).await.unwrap();
    finish(first).await.unwrap();
    assert_images(&world, &["dev", "other"], "both").await;
}

#[tokio::test]
async fn a_build_is_cancelled_in_each_of_its_phases() {
    let phases = ["prepare the host", "wait for ssh", "install the packages", "clean the guest"];
    for wanted in phases {
        let world = World::new().await;
        let mut operation = world.engine.build_image(request(&world, "dev"));
        let op = operation.id.clone();
        let mut failed = None;
        while let Some(progress) = operation.progress.recv().await {
            match progress {
                Progress::Begin(phase) if phase.to_string() == wanted => {
                    world.engine.cancel(&op).unwrap();
                }
                Progress::Failed(error) => failed = Some(error),
                _ => {}
            }
        }
        let error = failed.unwrap_or_else(|| panic!("{wanted}: it was not cancelled")).error;
        assert_eq!(error.code(), ErrorCode::Interrupted, "{wanted}: {}", chain(&error));
        assert_images(&world, &[], wanted).await;
        assert!(world.engine.cancel(&op).is_err(), "{wanted}: it is over");
        assert_eq!(world.files("failed"), Vec::<String>::new(), "{wanted}: nobody asks why");
    }
}

#[tokio::test]
async fn stopping_the_builds_vm_ends_the_build() {
    let world = World::new().await;
    let mut operation = world.engine.build_image(request(&world, "dev"));
    let mut failed = None;
    while let Some(progress) = operation.progress.recv().await {
        match progress {
            Progress::Begin(phase) if phase.to_string() == "install the packages" => {
                let view = world.engine.view("build-dev").unwrap();
                assert_eq!(view.vm.purpose, Purpose::Build);
                finish(world.engine.stop("build-dev", LONG).unwrap()).await.unwrap();
            }
            Progress::Failed(error) => failed = Some(error),
            _ => {}
        }
    }
    let error = failed.expect("its guest is gone").error;
    assert!(chain(&error).contains("another request ended `build-dev`"), "{}", chain(&error));
    assert_images(&world, &[], "stopped").await;
}

#[tokio::test]
async fn an_orderly_end_of_the_daemon_leaves_nothing_of_a_build() {
    let world = World::new().await;
    let mut operation = world.engine.build_image(request(&world, "dev"));
    while let Some(progress) = operation.progress.recv().await {
        if matches!(progress, Progress::Begin(phase) if phase.to_string() == "clean the guest") {
            break;
        }
    }
    world.engine.shutdown().await;
    assert_eq!(world.objects(), Vec::<String>::new());
    let world = world.restart().await;
    assert_images(&world, &[], "restarted").await;
}

#[tokio::test]
async fn a_failed_build_keeps_its_vm_when_asked_and_says_how_to_enter_it() {
    let world = World::new().await;
    world.faults("work:12");
    let failed = error(finish(world.engine.build_image(keeping(&world))).await);
    world.faults("");
    assert!(failed.hints().iter().any(|hint| hint.contains("banger vm ssh build-dev")));
    assert_eq!(world.state("build-dev"), VmState::Running);
    assert_eq!(world.files(IMAGES), Vec::<String>::new());
    // It outlives the daemon, and can be stopped and started as any other.
    let world = world.restart().await;
    assert_eq!(world.state("build-dev"), VmState::Running);
    world.stop("build-dev").await.unwrap();
    world.start("build-dev").await.unwrap();
    assert!(!world.objects().iter().any(|object| object.ends_with("work_disk")));
    // The next build does not need its name.
    build(&world, "dev").await.unwrap();
    world.delete("build-dev").await.unwrap();
    assert_images(&world, &["dev"], "kept").await;
}

/// A kernel, and a tree of its modules, all of which it has built in.
fn own_kernel(world: &World) -> (PathBuf, PathBuf) {
    let mut kernel = vec![0; 4096];
    kernel[..4].copy_from_slice(b"\x7fELF");
    [kernel[4], kernel[5], kernel[16], kernel[18]] = [2, 1, 2, 62];
    kernel.extend_from_slice(b"Linux version 6.1.0-test (otter)\0");
    let (path, tree) = (world.path("vmlinux"), world.path("lib/modules/6.1.0-test"));
    fs::write(&path, kernel).unwrap();
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("modules.dep"), "").unwrap();
    let all = GUEST_MODULES.map(|name| format!("kernel/{name}.ko\n"));
    fs::write(tree.join("modules.builtin"), all.concat()).unwrap();
    (path, tree)
}

fn boot_files(world: &World) -> Vec<String> {
    let mut files = world.files("builds");
    files.retain(|name| name.ends_with(".initrd") || name.ends_with(".vmlinux"));
    files
}

#[tokio::test]
async fn an_image_has_the_kernel_that_it_was_given() {
    let world = World::new().await;
    let (kernel, _) = own_kernel(&world);
    let request = BuildImage { kernel: Some(kernel.clone()), ..request(&world, "dev") };
    finish(world.engine.build_image(request)).await.unwrap();
    assert_images(&world, &["dev"], "built").await;
    let boot = world.engine.image("dev").unwrap().record.boot.unwrap();
    assert_eq!(fs::read(&boot.kernel).unwrap(), fs::read(&kernel).unwrap());
    assert!(fs::read(boot.initrd.unwrap()).unwrap().starts_with(b"070701"));
    assert_eq!(boot_files(&world), Vec::<String>::new());
    // It is the image's own.
    fs::remove_file(kernel).unwrap();
    let mut otter = new_vm("otter");
    otter.image = Some("dev".parse().unwrap());
    finish(world.engine.create(otter)).await.unwrap();
}

#[tokio::test]
async fn a_build_boots_the_kernel_that_the_image_is_given() {
    let world = World::new().await;
    let (kernel, _) = own_kernel(&world);
    world.faults("work:12");
    let kernel_given = BuildImage { kernel: Some(kernel.clone()), ..request(&world, "dev") };
    let keeping = BuildImage { keep_on_failure: true, ..kernel_given };
    error(finish(world.engine.build_image(keeping)).await);
    world.faults("");
    let own = world.engine.view("build-dev").unwrap().vm.own_kernel.unwrap();
    assert_eq!(fs::read(&own.kernel).unwrap(), fs::read(&kernel).unwrap());
    // Both outlive the daemon as the VM does, which needs them for a boot, and the user's own file.
    fs::remove_file(&kernel).unwrap();
    let world = world.restart().await;
    assert_eq!(boot_files(&world).len(), 2);
    world.stop("build-dev").await.unwrap();
    world.start("build-dev").await.unwrap();
    world.stop("build-dev").await.unwrap();
    fs::remove_file(&own.kernel).unwrap();
    let refused = error(world.start("build-dev").await);
    assert!(chain(&refused).contains(own.kernel.to_str().unwrap()), "{}", chain(&refused));
    world.delete("build-dev").await.unwrap();
    let world = world.restart().await;
    assert_eq!(boot_files(&world), Vec::<String>::new());
}

#[tokio::test]
async fn what_cannot_be_built_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let refuse = async |change: &dyn Fn(&mut BuildImage), code| {
        let mut request = request(&world, "dev");
        change(&mut request);
        let refused = error(finish(world.engine.build_image(request)).await);
        assert_eq!(refused.code(), code, "{}", chain(&refused));
        assert_images(&world, &[], &refused.to_string()).await;
        assert_eq!(world.files("builds"), Vec::<String>::new());
    };
    refuse(&|r| r.name = "default".parse().unwrap(), ErrorCode::NameTaken).await;
    refuse(&|r| r.from = Some("none".parse().unwrap()), ErrorCode::ImageNotFound).await;
    refuse(&|r| r.size = Some("1G".parse().unwrap()), ErrorCode::InvalidRequest).await;
    refuse(&|r| r.scripts = vec!["script".into()], ErrorCode::InvalidRequest).await;
    refuse(&|r| r.scripts = vec!["/no/such/script".into()], ErrorCode::Host).await;
    refuse(&|r| r.modules = Some(world.path("s")), ErrorCode::InvalidRequest).await;
    refuse(&|r| r.kernel = r.package_file.clone(), ErrorCode::ImageUnusable).await;
    let (kernel, tree) = own_kernel(&world);
    let other = world.path("lib/modules/6.1.0-other");
    fs::rename(&tree, &other).unwrap();
    refuse(
        &|r| (r.kernel, r.modules) = (Some(kernel.clone()), Some(other.clone())),
        ErrorCode::InvalidRequest,
    )
    .await;
    refuse(&|r| r.initrd = Some(kernel.clone()), ErrorCode::InvalidRequest).await;
    let bad = world.path("bad");
    fs::write(&bad, "curl\n--yes\n").unwrap();
    refuse(&|r| r.package_file = Some(bad.clone()), ErrorCode::InvalidRequest).await;
    let up = BuildCopy { from: bad.clone(), to: "/etc/../bad".to_owned() };
    refuse(&|r| r.copies = vec![up.clone()], ErrorCode::InvalidRequest).await;
}

#[tokio::test]
async fn a_pipe_in_place_of_a_file_is_refused_and_not_waited_for() {
    let world = World::new().await;
    let pipe = world.path("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from(0o600), 0).unwrap();
    let changes: [fn(&mut BuildImage, PathBuf); 3] = [
        |request, pipe| request.package_file = Some(pipe),
        |request, pipe| request.scripts = vec![pipe],
        |request, pipe| request.kernel = Some(pipe),
    ];
    for change in changes {
        let mut request = request(&world, "dev");
        change(&mut request, pipe.clone());
        let refused = error(finish(world.engine.build_image(request)).await);
        let told = chain(&refused);
        assert!(told.ends_with("it is no regular file"), "{told}");
        assert!(told.contains(pipe.to_str().unwrap()), "{told}");
        assert_images(&world, &[], &told).await;
    }
}

#[tokio::test]
async fn a_script_too_large_to_be_one_is_refused() {
    let world = World::new().await;
    let script = world.path("large");
    fs::write(&script, vec![b'\n'; (16 << 20) + 1]).unwrap();
    let request = BuildImage { scripts: vec![script.clone()], ..request(&world, "dev") };
    let refused = chain(&error(finish(world.engine.build_image(request)).await));
    assert!(refused.ends_with("it has more than 16777216 bytes"), "{refused}");
    assert_images(&world, &[], &refused).await;
}

#[tokio::test]
async fn a_build_for_whose_vm_there_is_no_address_leaves_not_even_a_log() {
    let world = World::with(OverlayMethod::Copy, "172.16.0.1/30").await;
    world.create("otter").await.unwrap();
    let before = world.objects();
    let (kernel, _) = own_kernel(&world);
    let request = BuildImage { kernel: Some(kernel), ..request(&world, "dev") };
    let refused = error(finish(world.engine.build_image(request)).await);
    assert_eq!(refused.to_string(), "all 1 addresses of 172.16.0.1/30 are taken");
    assert_eq!(world.files("builds"), Vec::<String>::new());
    assert_eq!((world.objects(), world.engine.list().len()), (before, 1));
    // Nothing holds its name.
    world.delete("otter").await.unwrap();
    build(&world, "dev").await.unwrap();
    assert_images(&world, &["dev"], "built").await;
}
