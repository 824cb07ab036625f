//! Imports: what becomes of an image, and that nothing stays of one that was broken off anywhere.

use crate::world::{LONG, World, error, finish, new_vm};
use banger_core::error::{ErrorCode, Explain, chain};
use banger_core::image::{ImageKind, ImageOrigin};
use banger_engine::{EngineError, ImportImage, Importer, NewVm, Progress};
use banger_image::import::{
    ImportError, ImportRecord, ImportRequest, ImportStep, Imported, ROOTFS_FILE, SourceKind,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

fn dev() -> ImportImage {
    ImportImage {
        name: "dev".parse().unwrap(),
        source: "/sources/dev.tar".into(),
        kernel: None,
        modules: None,
        size: None,
        max_size: None,
    }
}

/// What is in the directory of managed images.
fn directories(world: &World) -> Vec<String> {
    let Ok(entries) = fs::read_dir(world.dir().join("s/images")) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn names(world: &World) -> Vec<String> {
    world.engine.images().iter().map(|view| view.record.name.to_string()).collect()
}

/// That there is neither an image nor a part of one, and that its name is free.
async fn assert_nothing_is_left(world: &World, context: &str) {
    assert_eq!(directories(world), [""; 0], "{context}");
    assert_eq!(names(world), ["default"], "{context}");
    world.assert_agree(context).await;
}

const STEPS: [ImportStep; 5] = [
    ImportStep::Inspect,
    ImportStep::Layer { number: 1, of: 2 },
    ImportStep::Layer { number: 2, of: 2 },
    ImportStep::Measure,
    ImportStep::Write,
];

/// What an importer does at its last step.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It fails.
    Fails,
    /// It goes on until it is broken off.
    Hangs,
    /// It is told to break off when it is as good as done.
    Finishes,
}

/// Writes a file at each step, and ends at one of them.
#[derive(Debug)]
struct Scripted {
    last: usize,
    end: End,
}

impl Importer for Scripted {
    fn import(
        &self,
        request: &ImportRequest<'_>,
        progress: &dyn Fn(ImportStep),
    ) -> Result<Imported, ImportError> {
        for (number, step) in STEPS.into_iter().enumerate() {
            progress(step);
            fs::create_dir_all(request.dir.join("tree")).unwrap();
            fs::write(request.dir.join(format!("tree/{number}")), b"half").unwrap();
            if number == self.last {
                break;
            }
        }
        match self.end {
            End::Fails => Err(ImportError::CutOff { archive: "layer".to_owned() }),
            End::Hangs | End::Finishes => {
                let since = Instant::now();
                while !request.cancel.load(Ordering::Relaxed) {
                    assert!(since.elapsed() < LONG, "nobody breaks it off");
                    std::thread::yield_now();
                }
                match self.end {
                    End::Finishes => Ok(whole(request)),
                    _ => Err(ImportError::Cancelled),
                }
            }
        }
    }
}

/// All that an import leaves when it succeeds.
fn whole(request: &ImportRequest<'_>) -> Imported {
    let rootfs = request.dir.join(ROOTFS_FILE);
    fs::write(&rootfs, b"whole").unwrap();
    let record = ImportRecord::new(request.source.to_owned(), SourceKind::Tar);
    Imported { rootfs, record, warnings: Vec::new() }
}

async fn world_with(last: usize, end: End) -> World {
    World::with_importer(Arc::new(Scripted { last, end })).await
}

#[tokio::test]
async fn an_imported_image_is_managed_boots_vms_and_goes_with_its_files() {
    let world = World::new().await;
    let outcome = finish(world.engine.import_image(dev())).await.unwrap();
    assert!(outcome.changed && outcome.timings.len() == 5, "{outcome:?}");
    let world = world.restart().await;
    let view = world.engine.image("dev").unwrap();
    let record = &view.record;
    assert_eq!((record.kind, record.origin), (ImageKind::Managed, ImageOrigin::Imported));
    assert!(view.problem.is_none(), "{:?}", view.problem);
    assert_eq!(view.provenance.unwrap().source, PathBuf::from("/sources/dev.tar"));
    assert_eq!(directories(&world), [record.id.to_string()]);

    let image = Some("dev".parse().unwrap());
    finish(world.engine.create(NewVm { image, ..new_vm("otter") })).await.unwrap();
    let refused = error(finish(world.engine.delete_image("dev").unwrap()).await);
    assert_eq!(refused.code(), ErrorCode::ImageInUse);
    world.delete("otter").await.unwrap();
    finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
    assert_nothing_is_left(&world, "deleted").await;
}

#[tokio::test]
async fn a_kernel_that_is_given_is_copied() {
    let world = World::new().await;
    let kernel = world.dir().join("vmlinux");
    crate::images::kernel(&kernel);
    let request = ImportImage { kernel: Some(kernel.clone()), ..dev() };
    finish(world.engine.import_image(request)).await.unwrap();
    fs::remove_file(&kernel).unwrap();
    let view = world.engine.image("dev").unwrap();
    assert!(view.problem.is_none(), "{:?}", view.problem);
    let boot = view.record.boot.unwrap();
    assert!(boot.kernel.starts_with(world.dir().join("s/images")) && boot.initrd.is_none());
}

#[tokio::test]
async fn an_import_that_fails_at_any_step_leaves_nothing() {
    for (last, step) in STEPS.into_iter().enumerate() {
        let world = world_with(last, End::Fails).await;
        let failed = error(finish(world.engine.import_image(dev())).await);
        assert_eq!(failed.code(), ErrorCode::ImageUnusable, "{last}");
        assert_eq!(
            chain(&failed),
            "could not import the image: `layer` is cut off: it ends before the archive does"
        );
        assert_nothing_is_left(&world, &step.to_string()).await;
        assert_nothing_is_left(&world.restart().await, "after a restart").await;
    }
}

#[tokio::test]
async fn an_import_ends_at_any_step_when_its_asker_leaves() {
    let last = STEPS.len() - 1;
    let hangs = (0..STEPS.len()).map(|step| (step, End::Hangs));
    for (last, end) in hangs.chain([(last, End::Finishes)]) {
        let step = STEPS[last];
        let world = world_with(last, end).await;
        let mut operation = world.engine.import_image(dev());
        let reached = step.to_string();
        loop {
            match operation.progress.recv().await.unwrap() {
                Progress::Begin(phase) if phase.to_string() == reached => break,
                Progress::Begin(_) | Progress::End(..) => {}
                other => panic!("{other:?}"),
            }
        }
        let second = error(finish(world.engine.import_image(dev())).await);
        assert_eq!(second.code(), ErrorCode::NameTaken, "{second}");
        drop(operation);
        // It joins what is under way.
        world.engine.shutdown().await;
        assert_nothing_is_left(&world, &reached).await;
    }
}

#[tokio::test]
async fn an_import_ends_with_the_daemon() {
    let world = world_with(2, End::Hangs).await;
    let operation = world.engine.import_image(dev());
    let (ended, ()) = tokio::join!(finish(operation), world.engine.shutdown());
    assert_eq!(error(ended).code(), ErrorCode::Interrupted);
    assert_nothing_is_left(&world, "ended").await;
}

/// Before and after each change of the host: there is nothing then, or a whole image.
#[tokio::test]
async fn a_daemon_that_is_killed_at_any_step_leaves_nothing_or_a_whole_image() {
    for effect in ["crash-before", "crash-after"] {
        let mut whole = Vec::new();
        for n in 1.. {
            let context = format!("{effect}:{n}");
            let world = World::new().await;
            world.faults(&context);
            let _told = finish(world.engine.import_image(dev())).await;
            if !world.host.is_crashed() {
                break;
            }
            let world = world.restart().await;
            whole.push(names(&world) == ["default", "dev"]);
            if whole.last() == Some(&true) {
                let view = world.engine.image("dev").unwrap();
                assert!(view.problem.is_none(), "{context}: {:?}", view.problem);
                assert_eq!(directories(&world), [view.record.id.to_string()], "{context}");
                world.assert_agree(&context).await;
                finish(world.engine.delete_image("dev").unwrap()).await.unwrap();
            }
            assert_nothing_is_left(&world, &context).await;
        }
        // The draft, the image's directory, and then, with the record, the draft's row.
        assert_eq!(whole, [false, false, true], "{effect}");
    }
}

#[tokio::test]
async fn a_delete_that_a_killed_daemon_had_begun_is_finished() {
    for effect in ["crash-before", "crash-after"] {
        let world = World::new().await;
        finish(world.engine.import_image(dev())).await.unwrap();
        world.faults(&format!("{effect}:remove:image_dir:1"));
        let _told = finish(world.engine.delete_image("dev").unwrap()).await;
        assert!(world.host.is_crashed(), "{effect}");
        assert_nothing_is_left(&world.restart().await, effect).await;
    }
}

#[tokio::test]
async fn a_host_that_refuses_a_change_ends_the_import_and_is_named() {
    let cases = [
        ("ensure:image_draft:1", "could not make a place for the image: "),
        ("fail-after:ensure:image_draft:1", "could not make a place for the image: "),
        ("ensure:image_dir:1", "could not make a place for the image: "),
        ("fail-after:ensure:image_dir:1", "could not make a place for the image: "),
    ];
    for (fault, message) in cases {
        let world = World::new().await;
        world.faults(fault);
        let failed = error(finish(world.engine.import_image(dev())).await);
        assert!(chain(&failed).starts_with(message), "{fault}: {}", chain(&failed));
        assert_nothing_is_left(&world, fault).await;
        // The name is free for the next try.
        finish(world.engine.import_image(dev())).await.unwrap();
    }
}

/// It is somebody's, whoever made it.
#[tokio::test]
async fn what_is_no_image_of_ours_stays() {
    let world = World::new().await;
    let notes = world.dir().join("s/images/notes");
    fs::create_dir_all(&notes).unwrap();
    let world = world.restart().await;
    assert!(notes.is_dir());
    world.assert_agree("notes").await;
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_refused_before_anything_is_made() {
    let world = World::new().await;
    let absolute = |path: &str| Some(PathBuf::from(path));
    let cases = [
        (ImportImage { source: "dev.tar".into(), ..dev() }, "`dev.tar` is not an absolute path"),
        (
            ImportImage { modules: absolute("/lib/modules/6.1"), ..dev() },
            "modules were given without the kernel that they belong to",
        ),
        (ImportImage { kernel: absolute("vmlinux"), ..dev() }, "`vmlinux` is not an absolute path"),
    ];
    for (request, message) in cases {
        let refused: EngineError = error(finish(world.engine.import_image(request)).await);
        assert_eq!(
            (refused.to_string().as_str(), refused.code()),
            (message, ErrorCode::InvalidRequest)
        );
        assert!(!refused.hints().is_empty());
    }
    let text = world.dir().join("text");
    fs::write(&text, "otter").unwrap();
    let refused = finish(world.engine.import_image(ImportImage { kernel: Some(text), ..dev() }));
    assert_eq!(error(refused.await).code(), ErrorCode::ImageUnusable);
    assert_nothing_is_left(&world, "refused").await;
}
