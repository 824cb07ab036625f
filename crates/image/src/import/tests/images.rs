//! Images of container tools: which one is meant, and that every part is what was announced.

use super::super::budget::{Budget, Limits};
use super::super::digest::Sha256Digest;
use super::super::error::ImportError;
use super::super::record::SourceKind;
use super::super::source::Source;
use super::archive::Archive;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

pub(super) const AMD64: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// An OCI layout in the making.
pub(super) struct Layout {
    dir: tempfile::TempDir,
}

impl Layout {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
        fs::write(dir.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self { dir }
    }

    pub(super) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(super) fn blob(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = Sha256Digest::of(bytes);
        fs::write(self.path().join(digest.blob()), bytes).unwrap();
        json!({ "mediaType": media_type, "digest": digest.as_str(), "size": bytes.len() })
    }

    /// The bytes of a blob, for a test to change.
    fn blob_path(&self, descriptor: &Value) -> PathBuf {
        let digest = Sha256Digest::parse(descriptor["digest"].as_str().unwrap()).unwrap();
        self.path().join(digest.blob())
    }

    fn json(&self, media_type: &str, document: &Value) -> Value {
        self.blob(media_type, document.to_string().as_bytes())
    }

    /// An image of these layers, each its archive and the blob's descriptor.
    pub(super) fn image(&self, architecture: &str, layers: &[(Vec<u8>, Value)]) -> Value {
        let ids: Vec<_> =
            layers.iter().map(|(tar, _)| Sha256Digest::of(tar).as_str().to_owned()).collect();
        let config = json!({
            "architecture": architecture, "os": "linux",
            "config": {
                "Entrypoint": ["/bin/otter"], "Cmd": ["--swim"], "Env": ["A=1"],
                "Labels": { "b": "2", "a": "1" }, "ExposedPorts": { "80/tcp": {} },
            },
            "rootfs": { "type": "layers", "diff_ids": ids },
        });
        let layers: Vec<_> = layers.iter().map(|(_, descriptor)| descriptor.clone()).collect();
        let config = self.json(CONFIG, &config);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers,
        });
        self.json(MANIFEST, &manifest)
    }

    pub(super) fn plain_layer(&self, tar: Vec<u8>) -> (Vec<u8>, Value) {
        let descriptor = self.blob(LAYER, &tar);
        (tar, descriptor)
    }

    pub(super) fn index(&self, manifests: &[Value]) -> &Self {
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        fs::write(self.path().join("index.json"), index.to_string()).unwrap();
        self
    }

    fn open(&self) -> Result<Source, ImportError> {
        open(self.path())
    }
}

fn open(path: &Path) -> Result<Source, ImportError> {
    let spool = tempfile::tempdir().unwrap();
    let never = AtomicBool::new(false);
    let budget = Budget::new(Limits::default(), &never);
    Source::open(path, &spool.path().join("spool"), &budget)
}

fn tar() -> Vec<u8> {
    Archive::new().file("etc/issue", b"otter").finish()
}

fn for_platform(mut descriptor: Value, os: &str, architecture: &str) -> Value {
    descriptor["platform"] = json!({ "os": os, "architecture": architecture });
    descriptor
}

fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    descriptor
}

#[test]
fn the_only_image_of_a_layout_is_found_with_what_its_configuration_says() {
    let layout = Layout::new();
    let image = layout.image(AMD64, &[layout.plain_layer(tar())]);
    let Source::Image { kind, found, .. } =
        layout.index(std::slice::from_ref(&image)).open().unwrap()
    else {
        panic!("no image");
    };
    assert_eq!((kind, found.layers.len()), (SourceKind::OciLayout, 1));
    assert_eq!(found.config.entrypoint, ["/bin/otter"]);
    assert_eq!(found.config.cmd, ["--swim"]);
    assert_eq!(found.config.exposed_ports, ["80/tcp"]);
    assert_eq!(found.config.labels.keys().collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(found.digests.manifest.as_deref(), image["digest"].as_str());
    assert_eq!(found.digests.layers, [Sha256Digest::of(&tar()).as_str()]);
}

#[test]
fn this_machines_image_is_picked_and_attestations_are_passed_over() {
    let layout = Layout::new();
    let layer = [layout.plain_layer(tar())];
    let mine = for_platform(layout.image(AMD64, &layer), "linux", AMD64);
    let other = for_platform(layout.image("s390x", &layer), "linux", "s390x");
    let attestation = for_platform(layout.blob(MANIFEST, b"{}"), "unknown", "unknown");
    let inner =
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [other, attestation, mine] });
    let nested = layout.json(INDEX, &inner);
    let Source::Image { found, .. } = layout.index(&[nested]).open().unwrap() else {
        panic!("no image");
    };
    assert_eq!(found.digests.manifest.as_deref(), mine["digest"].as_str());
}

#[test]
fn several_images_or_none_are_an_error_that_lists_them() {
    let layout = Layout::new();
    let one = named(layout.image(AMD64, &[layout.plain_layer(tar())]), "one");
    let more = Archive::new().file("b", b"").finish();
    let two = named(layout.image(AMD64, &[layout.plain_layer(more)]), "two");
    let error = layout.index(&[one.clone(), two]).open().unwrap_err();
    assert_eq!(error.to_string(), "there are several images in it that could be meant: one, two");
    // Two names of the same image are one image.
    layout.index(&[one.clone(), named(one.clone(), "again")]).open().unwrap();
    let other = for_platform(one, "linux", "s390x");
    let error = layout.index(&[other]).open().unwrap_err().to_string();
    assert_eq!(error, format!("there is no image for linux/{AMD64} in it: it has linux/s390x"));
    assert!(matches!(layout.index(&[]).open(), Err(ImportError::NoPlatform { .. })));
    // The index does not have to say it.
    let silent = layout.image("s390x", &[layout.plain_layer(tar())]);
    assert!(matches!(layout.index(&[silent]).open(), Err(ImportError::NoPlatform { .. })));
}

#[test]
fn a_document_that_is_not_the_announced_one_is_refused() {
    let layout = Layout::new();
    let image = layout.image(AMD64, &[layout.plain_layer(tar())]);
    layout.index(std::slice::from_ref(&image));
    let path = layout.blob_path(&image);
    let honest = fs::read(&path).unwrap();
    let mut longer = honest.clone();
    longer.push(b' ');
    fs::write(&path, longer).unwrap();
    assert!(matches!(layout.open(), Err(ImportError::Size { .. })));
    let changed = String::from_utf8(honest).unwrap().replace("sha256:", "sha257:");
    fs::write(&path, changed).unwrap();
    assert!(matches!(layout.open(), Err(ImportError::Digest { .. })));
    fs::remove_file(&path).unwrap();
    assert!(matches!(layout.open(), Err(ImportError::NoPart { .. })));
    // A link out of the layout is no part of it.
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(layout.open(), Err(ImportError::Io { .. })));
}

#[test]
fn unknown_media_types_and_digests_are_refused() {
    let layout = Layout::new();
    let (tar, mut layer) = layout.plain_layer(tar());
    layer["mediaType"] = json!("application/vnd.oci.image.layer.v1.tar+gzip+encrypted");
    let image = layout.image(AMD64, &[(tar.clone(), layer.clone())]);
    let error = layout.index(&[image]).open().unwrap_err();
    assert!(matches!(error, ImportError::MediaType { .. }), "{error:?}");
    layer["mediaType"] = json!(LAYER);
    layer["digest"] = json!("sha256:../../../../etc/passwd");
    let image = layout.image(AMD64, &[(tar, layer)]);
    // The document itself is refused for it.
    let error = layout.index(&[image]).open().unwrap_err();
    assert!(matches!(error, ImportError::Document { .. }), "{error:?}");
    let helm = layout.blob("application/vnd.cncf.helm.chart.v1", b"{}");
    let error = layout.index(&[helm]).open().unwrap_err();
    assert!(matches!(error, ImportError::MediaType { .. }), "{error:?}");
}

#[test]
fn layers_and_their_digests_are_as_many() {
    let layout = Layout::new();
    let (tar, layer) = layout.plain_layer(tar());
    let config = json!({
        "architecture": AMD64, "os": "linux", "rootfs": { "type": "layers", "diff_ids": [] },
    });
    let config = layout.json(CONFIG, &config);
    let manifest = json!({ "schemaVersion": 2, "config": config, "layers": [layer] });
    let manifest = layout.json(MANIFEST, &manifest);
    let error = layout.index(&[manifest]).open().unwrap_err();
    assert!(matches!(error, ImportError::LayerCount { layers: 1, digests: 0 }), "{error:?}");
    drop(tar);
}

/// What `docker save` of older versions writes: a directory for each layer, and links between them.
pub(super) fn docker_archive(layers: &[Vec<u8>]) -> Vec<u8> {
    let ids: Vec<_> = layers.iter().map(|tar| Sha256Digest::of(tar).as_str().to_owned()).collect();
    let config = json!({
        "architecture": AMD64, "os": "linux", "config": { "Cmd": ["sh"], "Entrypoint": null },
        "rootfs": { "type": "layers", "diff_ids": ids },
    });
    let config = config.to_string();
    let config_name = Sha256Digest::of(config.as_bytes()).as_str().replace("sha256:", "") + ".json";
    let name = |number: usize| format!("{number:064x}/layer.tar");
    let mut archive = Archive::new();
    for (number, layer) in layers.iter().enumerate() {
        archive = archive.directory(&format!("{number:064x}/")).file(&name(number), layer);
    }
    let last = format!("{:064x}/layer.tar", 0xfff);
    archive = archive.symlink(&last, &format!("../{}", name(layers.len() - 1)));
    let mut names: Vec<_> = (0..layers.len() - 1).map(name).collect();
    names.push(last);
    let saved = json!([{ "Config": config_name, "RepoTags": ["otter:latest"], "Layers": names }]);
    archive
        .file(&config_name, config.as_bytes())
        .file("manifest.json", saved.to_string().as_bytes())
        .finish()
}

#[test]
fn a_docker_archive_is_recognised_with_its_links() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("saved.tar");
    fs::write(&path, docker_archive(&[tar(), Archive::new().file("b", b"").finish()])).unwrap();
    let Source::Image { kind, found, parts } = open(&path).unwrap() else { panic!("no image") };
    assert_eq!((kind, found.layers.len()), (SourceKind::DockerArchive, 2));
    assert!(found.layers.iter().all(|layer| parts.has(&layer.part)));
    assert_eq!(found.config.cmd, ["sh"]);
}

#[test]
fn archives_and_directories_are_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    let kind = |path: &Path| open(path).map(|source| source.kind());
    assert_eq!(kind(dir.path()).unwrap(), SourceKind::Directory);
    assert_eq!(kind(&write("plain", &tar())).unwrap(), SourceKind::Tar);
    // A root file system whose first entry has the name of an image's part.
    let lookalike = Archive::new().file("./blobs/x", b"").file("etc/issue", b"").finish();
    assert_eq!(kind(&write("lookalike", &lookalike)).unwrap(), SourceKind::Tar);
    let error = kind(&write("text", &b"otter ".repeat(1000))).unwrap_err();
    assert!(matches!(error, ImportError::UnknownSource { .. }), "{error:?}");
    let mut ext4 = vec![0; 8192];
    ext4[0] = 1;
    ext4[0x438..0x43a].copy_from_slice(&[0x53, 0xef]);
    let error = kind(&write("ext4", &ext4)).unwrap_err().to_string();
    assert!(error.ends_with("it is an ext4 file system"), "{error}");
    let error = kind(&write("bz2", b"BZh91AY")).unwrap_err();
    assert!(matches!(error, ImportError::Compression { .. }), "{error:?}");
    assert!(matches!(kind(&write("empty", b"")), Err(ImportError::CutOff { .. })));
    let gone = kind(&dir.path().join("gone")).unwrap_err();
    assert!(matches!(gone, ImportError::Missing { .. }));
}
