//! Whole imports, as root: owners, devices, capabilities, and what mke2fs makes of them.

mod host_import {
    use super::super::super::budget::Limits;
    use super::super::super::error::{EntryError, ImportError};
    use super::super::super::record::{RECORD_FILE, SourceKind};
    use super::super::super::{
        ImportRecord, ImportRequest, ImportStep, Imported, ROOTFS_FILE, Systemd, Warning, import,
    };
    use super::super::archive::Archive;
    use super::super::images::{AMD64, Layout, docker_archive};
    use super::super::names_in;
    use crate::compression::Format;
    use crate::compression::tests::pack;
    use banger_core::unit::{Bytes, MiB};
    use banger_host::cmd::Cmd;
    use std::fs;
    use std::path::Path;
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};
    use tar::EntryType;

    struct Run {
        dir: tempfile::TempDir,
        steps: Mutex<Vec<String>>,
    }

    impl Run {
        fn new() -> Self {
            Self { dir: tempfile::tempdir().unwrap(), steps: Mutex::default() }
        }

        fn import_with(&self, source: &Path, limits: Limits) -> Result<Imported, ImportError> {
            let cancel = AtomicBool::new(false);
            let size = None;
            let request =
                ImportRequest { source, dir: self.dir.path(), size, limits, cancel: &cancel };
            import(&request, &|step| self.steps.lock().unwrap().push(step.to_string()))
        }

        fn import(&self, source: &Path) -> Result<Imported, ImportError> {
            self.import_with(source, Limits::default())
        }

        /// What debugfs says to a request.
        fn debugfs(&self, request: &str) -> String {
            let output =
                Cmd::new("debugfs").args(["-R", request]).arg(self.dir.path().join(ROOTFS_FILE));
            String::from_utf8_lossy(&output.run().unwrap().stdout).into_owned()
        }

        fn assert_sound(&self) {
            let rootfs = self.dir.path().join(ROOTFS_FILE);
            Cmd::new("e2fsck").args(["-f", "-n"]).arg(rootfs).run().unwrap();
        }

        /// That a failed import has left nothing.
        fn assert_empty(&self) {
            assert_eq!(names_in(self.dir.path()), [""; 0]);
        }
    }

    /// `cap_net_raw=ep`, as `vfs_cap_data` of version 2.
    const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

    fn rootfs() -> Vec<u8> {
        let owner = |uid: u64, gid: u64, mode: u32| {
            move |header: &mut tar::Header| {
                header.set_uid(uid);
                header.set_gid(gid);
                header.set_mode(mode);
            }
        };
        Archive::new()
            .directory("./")
            .entry(EntryType::Regular, b"usr/bin/su", owner(0, 0, 0o4755), b"setuid")
            .records([("SCHILY.xattr.security.capability", &CAPABILITY[..])])
            .entry(EntryType::Regular, b"usr/bin/ping", owner(0, 0, 0o755), b"ping")
            .hard_link("usr/bin/ping6", "usr/bin/ping")
            .entry(
                EntryType::Regular,
                b"home/me/file",
                owner(100_000, 2_000_000_000, 0o600),
                b"mine",
            )
            .device(EntryType::Char, "dev/null", (1, 3))
            .device(EntryType::Char, "var/jail/dev/null", (1, 3))
            .entry(EntryType::Fifo, b"run/pipe", owner(7, 8, 0o640), b"")
            .symlink("bin", "usr/bin")
            .finish()
    }

    #[test]
    fn a_tar_archive_becomes_a_sound_file_system_in_every_compression() {
        for format in [None, Some(Format::Gzip), Some(Format::Xz), Some(Format::Zstd)] {
            let run = Run::new();
            let sources = tempfile::tempdir().unwrap();
            let source = sources.path().join("rootfs.tar");
            let packed = match format {
                None => rootfs(),
                Some(Format::Gzip) => pack(Format::Gzip, &rootfs()),
                Some(format) => {
                    // Without the size that the kernel's build appends.
                    let mut packed = pack(format, &rootfs());
                    packed.truncate(packed.len() - 4);
                    packed
                }
            };
            fs::write(&source, &packed).unwrap();
            let imported = run.import(&source).unwrap();
            run.assert_sound();
            assert_eq!(imported.record.kind, SourceKind::Tar);
            let digest = super::super::super::digest::Sha256Digest::of(&packed);
            assert_eq!(imported.record.digests.archive.as_deref(), Some(digest.as_str()));
            let no_init = Warning::NoInit { systemd: Systemd::Absent };
            let left_out = Warning::DevicesLeftOut(1);
            assert_eq!(imported.warnings, [no_init, Warning::NoSshServer, left_out]);
            let kept = fs::read(run.dir.path().join(RECORD_FILE)).unwrap();
            let kept: ImportRecord = serde_json::from_slice(&kept).unwrap();
            assert_eq!(kept, imported.record);
            assert_eq!(names_in(run.dir.path()), [RECORD_FILE, ROOTFS_FILE]);
        }
    }

    #[test]
    fn owners_modes_capabilities_links_and_devices_are_in_the_file_system() {
        let run = Run::new();
        let sources = tempfile::tempdir().unwrap();
        let source = sources.path().join("rootfs.tar");
        fs::write(&source, rootfs()).unwrap();
        run.import(&source).unwrap();
        let stat = |path: &str| run.debugfs(&format!("stat {path}"));
        assert!(stat("/usr/bin/su").contains("Mode:  04755"), "{}", stat("/usr/bin/su"));
        let file = stat("/home/me/file");
        assert!(file.contains("User: 100000") && file.contains("Group: 2000000000"), "{file}");
        let ping = stat("/usr/bin/ping");
        assert!(ping.contains("Links: 2") && ping.contains("security.capability"), "{ping}");
        assert_eq!(ping.lines().next(), stat("/usr/bin/ping6").lines().next());
        let value = run.debugfs("ea_get -x /usr/bin/ping security.capability");
        assert!(value.contains("01 00 00 02 00 20"), "{value}");
        assert!(stat("/run/pipe").contains("Type: FIFO"));
        assert!(stat("/var/jail/dev/null").contains("Type: character special"));
        assert!(!stat("/dev/null").contains("Type:"), "{}", stat("/dev/null"));
        assert!(stat("/bin").contains("Fast link dest: \"usr/bin\""));
        // 2001-09-09, in the archive.
        assert!(stat("/usr/bin/su").contains("mtime: 0x3b9aca00"), "{}", stat("/usr/bin/su"));
    }

    #[test]
    fn an_image_in_a_layout_in_an_archive_of_one_and_of_docker_give_the_same() {
        let lower = Archive::new().file("etc/a", b"old").file("etc/b", b"hidden").finish();
        let upper = Archive::new().file("etc/a", b"new").file("etc/.wh.b", b"").finish();
        let layout = Layout::new();
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        let packed = layout.blob(gzip, &pack(Format::Gzip, &upper));
        let layers = [layout.plain_layer(lower.clone()), (upper.clone(), packed)];
        layout.index(&[layout.image(AMD64, &layers)]);

        let sources = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = sources.path().join(name);
            fs::write(&path, bytes).unwrap();
            path
        };
        let archive = sources.path().join("layout.tar");
        let tar = Cmd::new("tar").args(["--create", "--file"]).arg(&archive);
        tar.arg("-C").args([layout.path()]).arg(".").run().unwrap();
        let packed = write("layout.tar.gz", &pack(Format::Gzip, &fs::read(&archive).unwrap()));
        let docker = write("docker.tar", &docker_archive(&[lower, upper]));
        for (source, kind) in [
            (layout.path(), SourceKind::OciLayout),
            (&archive, SourceKind::OciArchive),
            (&packed, SourceKind::OciArchive),
            (&docker, SourceKind::DockerArchive),
        ] {
            let run = Run::new();
            let imported = run.import(source).unwrap();
            assert_eq!(imported.record.kind, kind);
            assert_eq!(imported.record.digests.layers.len(), 2, "{kind}");
            assert!(imported.record.config.is_some(), "{kind}");
            assert_eq!(run.debugfs("cat /etc/a"), "new", "{kind}");
            assert!(!run.debugfs("ls /etc").contains(" b "), "{kind}");
            assert_eq!(names_in(run.dir.path()), [RECORD_FILE, ROOTFS_FILE]);
            let steps = run.steps.lock().unwrap().join(", ");
            assert!(steps.contains("unpacking layer 2 of 2"), "{steps}");
        }
    }

    #[test]
    fn a_layer_that_is_not_the_announced_one_is_refused() {
        let tar = Archive::new().file("etc/a", b"a").finish();
        let other = Archive::new().file("etc/a", b"b").finish();
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        // As packed: the blob was changed. As unpacked: the configuration speaks of another archive.
        let changed = Layout::new();
        let layer = changed.plain_layer(tar.clone());
        let digest = layer.1["digest"].as_str().unwrap().replace("sha256:", "blobs/sha256/");
        changed.index(&[changed.image(AMD64, &[layer])]);
        fs::write(changed.path().join(digest), &other).unwrap();
        let exchanged = Layout::new();
        let layer = exchanged.blob(gzip, &pack(Format::Gzip, &other));
        exchanged.index(&[exchanged.image(AMD64, &[(tar, layer)])]);
        for layout in [changed, exchanged] {
            let run = Run::new();
            let error = run.import(layout.path()).unwrap_err();
            assert!(matches!(error, ImportError::Digest { .. }), "{error:?}");
            run.assert_empty();
        }
    }

    fn small_tree() -> tempfile::TempDir {
        let tree = tempfile::tempdir().unwrap();
        fs::create_dir(tree.path().join("sub")).unwrap();
        fs::write(tree.path().join("sub/file"), vec![1; 5000]).unwrap();
        tree
    }

    #[test]
    fn a_directory_is_read_where_it_is() {
        let (run, tree) = (Run::new(), small_tree());
        let imported = run.import(tree.path()).unwrap();
        assert_eq!((imported.record.kind, imported.record.entries), (SourceKind::Directory, 2));
        run.assert_sound();
        assert!(run.debugfs("stat /sub/file").contains("Size: 5000"));
        assert_eq!(names_in(tree.path()), ["sub"]);
        let again = Run::new();
        let empty = tempfile::tempdir().unwrap();
        let error = again.import(empty.path()).unwrap_err();
        assert!(matches!(error, ImportError::Empty { .. }), "{error:?}");
        again.assert_empty();
    }

    #[test]
    fn a_directory_with_a_device_or_another_file_system_in_it_is_refused() {
        use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
        let (run, tree) = (Run::new(), small_tree());
        let node = tree.path().join("sub/disk");
        mknodat(CWD, &node, FileType::BlockDevice, Mode::RUSR, makedev(8, 0)).unwrap();
        let error = run.import(tree.path()).unwrap_err();
        let ImportError::Entry { source: EntryError::Device { .. }, .. } = error else {
            panic!("{error:?}");
        };
        run.assert_empty();
        let error = run.import(Path::new("/")).unwrap_err();
        assert!(matches!(error, ImportError::Mount { .. }), "{error:?}");
        run.assert_empty();
    }

    #[test]
    fn a_size_that_is_given_is_that_of_the_file_system_or_too_small() {
        let (run, tree) = (Run::new(), small_tree());
        let cancel = AtomicBool::new(false);
        let with = |size| ImportRequest {
            source: tree.path(),
            dir: run.dir.path(),
            size: Some(MiB::of(size)),
            limits: Limits::default(),
            cancel: &cancel,
        };
        let error = import(&with(20), &|_| {}).unwrap_err();
        assert!(matches!(error, ImportError::TooSmall { .. }), "{error:?}");
        run.assert_empty();
        let imported = import(&with(4096), &|_| {}).unwrap();
        let found = imported.rootfs.metadata().unwrap();
        assert_eq!(found.len(), 4 << 30);
        use std::os::unix::fs::MetadataExt;
        assert!(found.blocks() * 512 < 300 << 20, "it is not sparse: {}", found.blocks());
    }

    #[test]
    fn what_is_larger_than_allowed_leaves_nothing() {
        let (run, tree) = (Run::new(), small_tree());
        let limits = Limits { bytes: Bytes(4000), ..Limits::default() };
        let error = run.import_with(tree.path(), limits).unwrap_err();
        assert!(matches!(error, ImportError::TooLarge { .. }), "{error:?}");
        let source = tree.path().join("bomb.tar");
        fs::write(&source, Archive::new().file("zeros", &[0; 8000]).finish()).unwrap();
        let error = run.import_with(&source, limits).unwrap_err();
        assert!(matches!(error, ImportError::TooLarge { .. }), "{error:?}");
        run.assert_empty();
    }

    #[test]
    fn an_import_that_is_broken_off_at_any_step_leaves_nothing() {
        let layout = Layout::new();
        let layers = [
            layout.plain_layer(Archive::new().file("a", b"").finish()),
            layout.plain_layer(Archive::new().file("b", b"").finish()),
        ];
        layout.index(&[layout.image(AMD64, &layers)]);
        let steps = [
            ImportStep::Layer { number: 1, of: 2 },
            ImportStep::Layer { number: 2, of: 2 },
            ImportStep::Measure,
            ImportStep::Write,
        ];
        for last in steps {
            let run = Run::new();
            let cancel = AtomicBool::new(false);
            let request = ImportRequest {
                source: layout.path(),
                dir: run.dir.path(),
                size: None,
                limits: Limits::default(),
                cancel: &cancel,
            };
            let error = import(&request, &|step| {
                if step == last {
                    cancel.store(true, Ordering::Relaxed);
                }
            });
            use banger_core::error::{ErrorCode, Explain};
            assert_eq!(error.unwrap_err().code(), ErrorCode::Interrupted, "{last}");
            run.assert_empty();
        }
    }
}
