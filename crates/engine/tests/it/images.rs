//! Images: what is registered, what is refused, and what follows the bundle.

use crate::world::{World, error, finish, new_vm};
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::image::{ImageKind, ImageOrigin};
use banger_core::vm::OverlayMethod;
use banger_engine::{EngineError, Images, NewImage, NewVm, VmView};
use banger_image::bundle::{BundleSource, Override, Role};
use std::fs;
use std::path::{Path, PathBuf};

/// As much of an ELF kernel for x86-64 as is looked at.
pub(crate) fn kernel(path: &Path) {
    let mut bytes = vec![0; 4096];
    bytes[..4].copy_from_slice(b"\x7fELF");
    [bytes[4], bytes[5], bytes[16], bytes[18]] = [2, 1, 2, 62];
    fs::write(path, bytes).unwrap();
}

/// As much of an ext4 file system as is looked at, with a byte of its UUID.
fn rootfs(path: &Path, uuid: u8) {
    let mut bytes = vec![0; 4096];
    bytes[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    bytes[0x468] = uuid;
    fs::write(path, bytes).unwrap();
}

/// A bundle of the legacy layout.
fn bundle(dir: &Path, uuid: u8) {
    fs::create_dir_all(dir).unwrap();
    kernel(&dir.join("vmlinux"));
    fs::write(dir.join("initrd"), b"").unwrap();
    rootfs(&dir.join("rootfs.ext4"), uuid);
}

fn new_image(name: &str, rootfs: PathBuf) -> NewImage {
    let name = name.parse().unwrap();
    NewImage { name, kernel: None, initrd: None, modules: None, rootfs, boot_args: Vec::new() }
}

async fn world_over(overlay: OverlayMethod, images: impl Fn(&Path) -> Images) -> World {
    let dir = tempfile::tempdir().unwrap();
    kernel(&dir.path().join("banger-init"));
    let images = images(dir.path());
    World::over(dir, overlay, "172.16.0.1/24", images).await
}

/// A world whose bundle is `<dir>/<name>`.
async fn world_of_bundle(overlay: OverlayMethod) -> World {
    world_over(overlay, |dir| {
        bundle(&dir.join("a"), 1);
        Images::Bundle(BundleSource::at(dir.join("a")))
    })
    .await
}

async fn register(world: &World, new: NewImage) -> Result<(), EngineError> {
    match finish(world.engine.register_image(new)).await {
        Ok(_) => Ok(()),
        Err(failed) => Err(failed.error),
    }
}

async fn register_dev(world: &World) -> PathBuf {
    let path = world.dir().join("dev.ext4");
    rootfs(&path, 7);
    register(world, new_image("dev", path.clone())).await.unwrap();
    path
}

async fn create_of(world: &World, name: &str, image: &str) -> Result<VmView, EngineError> {
    let image = Some(image.parse().unwrap());
    let created = finish(world.engine.create(NewVm { image, ..new_vm(name) })).await;
    created.map(|outcome| outcome.vm.unwrap()).map_err(|failed| failed.error)
}

fn names(world: &World) -> Vec<String> {
    world.engine.images().iter().map(|view| view.record.name.to_string()).collect()
}

#[tokio::test]
async fn a_registered_image_is_a_record_that_lasts_and_its_files_stay() {
    let world = World::new().await;
    let path = register_dev(&world).await;
    let world = world.restart().await;
    assert_eq!(names(&world), ["default", "dev"]);
    let view = world.engine.image("de").unwrap_err();
    assert_eq!(view.to_string(), "`de` could be any of `default`, `dev`");
    let view = world.engine.image("dev").unwrap();
    let record = &view.record;
    assert_eq!((record.kind, record.origin), (ImageKind::Unmanaged, ImageOrigin::Registered));
    assert_eq!(record.size.unwrap().0, 4096);
    let digest = record.digest.clone().unwrap();
    assert!(digest.starts_with("sparse-sha256:") && digest.len() == 78, "{digest}");
    finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
    assert_eq!(names(&world), ["default"]);
    assert!(path.exists());
}

#[tokio::test]
async fn what_cannot_be_an_image_is_refused_each_for_its_own_reason() {
    let world = World::new().await;
    let file = |name: &str| world.dir().join(name);
    register_dev(&world).await;
    kernel(&file("vmlinux"));
    fs::write(file("text"), b"otter").unwrap();
    let good = || new_image("x", file("dev.ext4"));
    let cases = [
        (NewImage { rootfs: "dev.ext4".into(), ..good() }, "`dev.ext4` is not an absolute path"),
        (
            NewImage { rootfs: file("gone"), ..good() },
            "cannot use the image `x`: the root file system `DIR/gone` does not exist",
        ),
        (
            NewImage { rootfs: file("text"), ..good() },
            "cannot use the image `x`: `DIR/text` is no ext4 file system",
        ),
        (
            NewImage { kernel: Some(file("text")), ..good() },
            "cannot use the image `x`: `DIR/text` is no kernel that can be booted: it is neither an ELF file nor a bzImage",
        ),
        (
            NewImage { kernel: Some(file("vmlinux")), initrd: Some(file("gone")), ..good() },
            "cannot use the image `x`: the initrd `DIR/gone` does not exist",
        ),
        (
            NewImage { initrd: Some(file("text")), ..good() },
            "an initrd was given without the kernel that its modules belong to",
        ),
        (
            NewImage { boot_args: vec!["a b".to_owned()], ..good() },
            "`a b` is not one word of a kernel's command line",
        ),
        (new_image("dev", file("dev.ext4")), "an image called `dev` exists already"),
    ];
    for (new, expected) in cases {
        let error = register(&world, new).await.unwrap_err();
        let said = chain(&error).replace(&world.dir().display().to_string(), "DIR");
        assert_eq!(said, expected);
        assert_ne!(error.code(), ErrorCode::Internal, "{said}");
        assert!(!error.hints().is_empty(), "{said}");
    }
    assert_eq!(names(&world), ["default", "dev"]);
    // A name that was refused is free again.
    register(&world, good()).await.unwrap();
}

#[tokio::test]
async fn an_image_that_vms_use_is_not_deleted_and_says_their_names() {
    let world = World::new().await;
    register_dev(&world).await;
    create_of(&world, "otter", "dev").await.unwrap();
    create_of(&world, "heron", "dev").await.unwrap();
    let refused = error(finish(world.engine.delete_image("dev").unwrap()).await);
    assert_eq!(refused.to_string(), "the image `dev` is in use by `heron`, `otter`");
    assert_eq!(refused.code(), ErrorCode::ImageInUse);
    for name in ["otter", "heron"] {
        world.delete(name).await.unwrap();
    }
    finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
    let unknown = create_of(&world, "otter", "dev").await.unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::ImageNotFound);
    world.assert_empty("deleted").await;
}

#[tokio::test]
async fn a_vm_shows_the_name_that_its_image_has_now() {
    let world = World::new().await;
    register_dev(&world).await;
    create_of(&world, "otter", "dev").await.unwrap();
    world.engine.rename_image("dev", "prod".parse().unwrap()).unwrap();
    assert_eq!(world.engine.view("otter").unwrap().image.as_str(), "prod");
    let taken = world.engine.rename_image("prod", "default".parse().unwrap()).unwrap_err();
    assert_eq!(taken.to_string(), "an image called `default` exists already");
    world.engine.rename_image("prod", "prod".parse().unwrap()).unwrap();
    let world = world.restart().await;
    assert_eq!(world.engine.view("otter").unwrap().image.as_str(), "prod");
}

#[tokio::test]
async fn a_lost_file_is_shown_and_refuses_a_start_that_needs_it_and_nothing_else() {
    let world = World::with(OverlayMethod::DmSnapshot, "172.16.0.1/24").await;
    let path = register_dev(&world).await;
    create_of(&world, "otter", "dev").await.unwrap();
    world.stop("otter").await.unwrap();
    fs::remove_file(&path).unwrap();
    let world = world.restart().await;
    let problem = world.engine.image("dev").unwrap().problem.unwrap();
    assert_eq!(problem.to_string(), "cannot use the image `dev`");
    let before = world.objects();
    let refused = error(world.start("otter").await);
    assert_eq!(refused.code(), ErrorCode::ImageUnusable);
    assert_eq!(world.objects(), before);
    rootfs(&path, 7);
    world.start("otter").await.unwrap();
}

#[tokio::test]
async fn a_root_disk_with_blocks_of_its_own_no_longer_needs_the_image() {
    let world = World::with(OverlayMethod::Copy, "172.16.0.1/24").await;
    let path = register_dev(&world).await;
    create_of(&world, "otter", "dev").await.unwrap();
    world.stop("otter").await.unwrap();
    fs::remove_file(&path).unwrap();
    world.start("otter").await.unwrap();
    let refused = create_of(&world, "heron", "dev").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::ImageUnusable);
}

#[tokio::test]
async fn the_default_image_follows_a_bundle_that_moves_and_keeps_its_id() {
    let mut world = world_of_bundle(OverlayMethod::Copy).await;
    let before = world.engine.image("default").unwrap().record;
    world.create("otter").await.unwrap();
    world.stop("otter").await.unwrap();
    fs::rename(world.dir().join("a"), world.dir().join("b")).unwrap();
    let world_without = world.restart().await;
    assert!(world_without.engine.image("default").unwrap().problem.is_some());
    world = world_without;
    world.images = Images::Bundle(BundleSource::at(world.dir().join("b")));
    let world = world.restart().await;
    let after = world.engine.image("default").unwrap().record;
    assert_eq!(
        (&after.id, after.rootfs.parent()),
        (&before.id, Some(world.dir().join("b").as_path()))
    );
    world.start("otter").await.unwrap();
    assert_eq!(names(&world), ["default"]);
}

#[tokio::test]
async fn vms_keep_the_files_of_a_bundle_that_another_took_the_place_of() {
    let mut world = world_of_bundle(OverlayMethod::DmSnapshot).await;
    world.create("otter").await.unwrap();
    world.stop("otter").await.unwrap();
    bundle(&world.dir().join("b"), 2);
    world.images = Images::Bundle(BundleSource::at(world.dir().join("b")));
    let world = world.restart().await;
    let old = world.engine.view("otter").unwrap();
    assert_eq!(old.image.as_str(), format!("bundle-{}", old.vm.image));
    let rootfs = world.engine.image(old.image.as_str()).unwrap().record.rootfs;
    assert_eq!(rootfs, world.dir().join("a/rootfs.ext4"));
    world.start("otter").await.unwrap();
    let new = world.create("heron").await.unwrap().vm.unwrap();
    assert_eq!(new.image.as_str(), "default");
    assert_ne!(new.vm.image, old.vm.image);
}

#[tokio::test]
async fn a_missing_bundle_never_stops_the_daemon_and_is_the_reason_that_is_given() {
    let world =
        world_over(OverlayMethod::Copy, |dir| Images::Bundle(BundleSource::at(dir.join("gone"))))
            .await;
    assert_eq!(names(&world), Vec::<String>::new());
    assert_eq!(error(world.create("otter").await).code(), ErrorCode::BundleUnusable);
    let lone = register(&world, new_image("dev", world.dir().join("x"))).await.unwrap_err();
    assert_eq!(lone.code(), ErrorCode::BundleUnusable);
}

#[tokio::test]
async fn what_the_configuration_names_takes_the_place_of_the_bundles_own() {
    let given = |dir: &Path, name: &str| Override {
        role: Role::Kernel,
        path: dir.join(name),
        key: "default_kernel",
        origin: "line 3 of `/c`".to_owned(),
    };
    let world = world_over(OverlayMethod::Copy, |dir| {
        bundle(&dir.join("a"), 1);
        kernel(&dir.join("mine"));
        let overrides = vec![given(dir, "mine")];
        Images::Bundle(BundleSource { overrides, ..BundleSource::at(dir.join("a")) })
    })
    .await;
    let image = world.engine.image("default").unwrap().image.unwrap();
    assert_eq!(image.kernel, world.dir().join("mine"));
    assert_eq!(image.rootfs, world.dir().join("a/rootfs.ext4"));
    world.create("otter").await.unwrap();

    fs::remove_file(world.dir().join("mine")).unwrap();
    let refused = error(world.create("heron").await);
    let text =
        format!("{}: {}\nhint: {}", refused.code(), chain(&refused), refused.hints().join("\n"));
    let text = text.replace(world.dir().to_str().unwrap(), "[DIR]");
    insta::assert_snapshot!(text, @r"
    bundle_unusable: cannot use the runtime bundle: the kernel `[DIR]/mine`, which `default_kernel` in line 3 of `/c` names, does not exist
    hint: set `default_kernel` to a file that can be used, or remove it; then `banger daemon restart`
    ");
}

#[tokio::test]
async fn the_bundles_image_is_not_deleted_while_there_is_a_bundle() {
    let world = world_of_bundle(OverlayMethod::Copy).await;
    let refused = error(finish(world.engine.delete_image("default").unwrap()).await);
    assert_eq!(refused.code(), ErrorCode::ImageInUse);
    fs::remove_dir_all(world.dir().join("a")).unwrap();
    finish(world.engine.delete_image("default").unwrap()).await.unwrap();
    assert_eq!(names(&world), Vec::<String>::new());
}
