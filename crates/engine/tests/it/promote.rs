//! Images that are taken into managed storage, and such as have an archive of their own there.

use crate::world::{IMAGES, World, error, finish, new_vm};
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::image::{ImageKind, ImageOrigin};
use banger_core::state::VmState;
use banger_engine::{EngineError, NewImage};
use banger_image::initrd::GUEST_MODULES;
use std::fs;
use std::path::PathBuf;

/// More calls than a promotion makes.
const MOST: usize = 20;

fn elf(path: &PathBuf) {
    let mut kernel = vec![0; 4096];
    kernel[..4].copy_from_slice(b"\x7fELF");
    [kernel[4], kernel[5], kernel[16], kernel[18]] = [2, 1, 2, 62];
    fs::write(path, kernel).unwrap();
}

/// An image with files of all kinds, outside of the state directory.
fn files(world: &World) -> NewImage {
    let (kernel, rootfs) = (world.path("own-vmlinux"), world.path("own.ext4"));
    elf(&kernel);
    fs::write(world.path("own-initrd"), b"").unwrap();
    let mut bytes = vec![0; 4096];
    bytes[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    fs::write(&rootfs, bytes).unwrap();
    fs::write(world.path("own.ext4.packages.json"), "{}").unwrap();
    NewImage {
        name: "dev".parse().unwrap(),
        kernel: Some(kernel),
        initrd: Some(world.path("own-initrd")),
        modules: None,
        rootfs,
        boot_args: vec!["quiet".to_owned()],
    }
}

async fn promote(world: &World, reference: &str) -> Result<bool, EngineError> {
    match finish(world.engine.promote_image(reference).unwrap()).await {
        Ok(outcome) => Ok(outcome.changed),
        Err(failed) => Err(failed.error),
    }
}

#[tokio::test]
async fn a_promoted_image_keeps_its_id_and_its_vms_and_needs_the_old_files_no_more() {
    let world = World::new().await;
    finish(world.engine.register_image(files(&world))).await.unwrap();
    let before = world.engine.image("dev").unwrap().record;
    let mut otter = new_vm("otter");
    otter.image = Some("dev".parse().unwrap());
    finish(world.engine.create(otter)).await.unwrap();

    assert!(promote(&world, "dev").await.unwrap());
    assert!(!promote(&world, "dev").await.unwrap(), "it is managed already");
    for name in ["own-vmlinux", "own-initrd", "own.ext4"] {
        fs::remove_file(world.path(name)).unwrap();
    }
    let world = world.restart().await;
    let view = world.engine.image("dev").unwrap();
    assert!(view.problem.is_none(), "{:?}", view.problem);
    let after = view.record;
    assert_eq!((&after.id, after.kind), (&before.id, ImageKind::Managed));
    assert_eq!((after.origin, &after.boot_args), (ImageOrigin::Registered, &before.boot_args));
    let home = world.path(&format!("s/images/{}", after.id));
    assert!(after.rootfs.starts_with(&home) && after.boot.unwrap().kernel.starts_with(&home));
    assert!(home.join("rootfs.ext4.packages.json").exists());
    world.stop("otter").await.unwrap();
    world.start("otter").await.unwrap();
    world.delete("otter").await.unwrap();
    finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
    assert_eq!(world.files(IMAGES), Vec::<String>::new());
    world.assert_empty("deleted").await;
}

#[tokio::test]
async fn the_promoted_default_image_follows_the_bundle_no_more() {
    let world = World::new().await;
    assert!(promote(&world, "default").await.unwrap());
    let world = world.restart().await;
    let record = world.engine.image("default").unwrap().record;
    assert_eq!((record.kind, record.origin), (ImageKind::Managed, ImageOrigin::Bundle));
    finish(world.engine.create(new_vm("otter"))).await.unwrap();
    assert_eq!(world.state("otter"), VmState::Running);
}

/// What there may be after a promotion that did not come to its end: the image as it was.
async fn assert_untouched(world: &World, context: &str) {
    let view = world.engine.image("dev").unwrap();
    assert_eq!(view.record.kind, ImageKind::Unmanaged, "{context}");
    assert!(view.problem.is_none(), "{context}: {:?}", view.problem);
    assert_eq!(world.files(IMAGES), Vec::<String>::new(), "{context}");
    world.assert_empty(context).await;
}

#[tokio::test]
async fn a_promotion_that_fails_or_is_killed_at_any_step_leaves_the_image_as_it_was_or_whole() {
    for effect in ["", "crash-before:", "crash-after:"] {
        for (verb, least) in [("ensure", 2), ("work", 4)] {
            let mut untouched = 0;
            for n in 1..MOST {
                let context = format!("{effect}{verb}:{n}");
                let world = World::new().await;
                finish(world.engine.register_image(files(&world))).await.unwrap();
                world.faults(&context);
                let result = promote(&world, "dev").await;
                let crashed = world.host.is_crashed();
                world.faults("");
                let world = if crashed { world.restart().await } else { world };
                if result.is_ok() && !crashed {
                    break;
                }
                assert_untouched(&world, &context).await;
                untouched += 1;
            }
            assert!(untouched >= least, "{effect}{verb}: only {untouched} steps were reached");
        }
    }
}

#[tokio::test]
async fn a_registered_image_has_an_archive_made_of_its_kernels_modules() {
    let world = World::new().await;
    let tree = world.path("lib/modules/6.1.0-test");
    fs::create_dir_all(&tree).unwrap();
    fs::write(tree.join("modules.dep"), "").unwrap();
    let all = GUEST_MODULES.map(|name| format!("kernel/{name}.ko\n"));
    fs::write(tree.join("modules.builtin"), all.concat()).unwrap();
    let with = NewImage { initrd: None, modules: Some(tree.clone()), ..files(&world) };
    finish(world.engine.register_image(with.clone())).await.unwrap();

    let world = world.restart().await;
    let view = world.engine.image("dev").unwrap();
    assert!(view.problem.is_none(), "{:?}", view.problem);
    let (record, home) = (view.record.clone(), format!("s/images/{}", view.record.id));
    assert_eq!((record.kind, record.rootfs), (ImageKind::Unmanaged, world.path("own.ext4")));
    let initrd = record.boot.unwrap().initrd.unwrap();
    assert_eq!(initrd, world.path(&home).join("initrd"));
    assert!(fs::read(initrd).unwrap().starts_with(b"070701"));
    let refused = promote(&world, "dev").await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::InvalidRequest, "{}", chain(&refused));
    finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
    assert_eq!(world.files(IMAGES), Vec::<String>::new());
    assert!(world.path("own.ext4").exists(), "that is a user's");
    world.assert_empty("deleted").await;

    let refuse = async |new: NewImage| {
        let refused = error(finish(world.engine.register_image(new)).await);
        assert_eq!(refused.code(), ErrorCode::InvalidRequest, "{}", chain(&refused));
    };
    refuse(NewImage { kernel: None, ..with.clone() }).await;
    refuse(NewImage { initrd: Some(world.path("own-initrd")), ..with.clone() }).await;
    fs::remove_file(tree.join("modules.builtin")).unwrap();
    let refused = error(finish(world.engine.register_image(with)).await);
    assert_eq!(refused.code(), ErrorCode::ImageUnusable, "{}", chain(&refused));
}
