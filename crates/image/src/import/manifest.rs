//! Finding the one image in a layout or an archive: which layers, in which order, and what its
//! configuration says.

use super::digest::Sha256Digest;
use super::error::ImportError;
use super::parts::Parts;
use super::record::{Digests, ImageConfig};
use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest, MediaType};
use serde::Deserialize;
use std::path::Path;

/// The document that every image layout has.
pub(super) const LAYOUT_FILE: &str = "oci-layout";
/// The index of an image layout.
pub(super) const INDEX_FILE: &str = "index.json";
/// The list of images in an archive of `docker save`.
pub(super) const DOCKER_FILE: &str = "manifest.json";

/// How deep an index may lie in another.
const MAX_NESTING: usize = 4;
/// More layers than any builder makes; Docker's limit is 127.
const MAX_LAYERS: usize = 1024;
/// The processor as OCI names it.
const ARCHITECTURE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
/// Names an image in an index (annotations.md of the OCI image specification).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// An image that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its layers, the lowest first.
    pub(super) layers: Vec<Layer>,
    pub(super) config: ImageConfig,
    pub(super) digests: Digests,
}

/// A layer before it is unpacked.
#[derive(Debug)]
pub(super) struct Layer {
    /// Its name among the parts.
    pub(super) part: String,
    /// Digest and length of the part, where they were announced.
    pub(super) packed: Option<(Sha256Digest, u64)>,
    /// The digest of the archive in it.
    pub(super) unpacked: Sha256Digest,
}

/// Finds the image of an OCI layout.
pub(super) fn find_in_layout(parts: &Parts) -> Result<Found, ImportError> {
    let (index, _) = parts.document::<ImageIndex>(INDEX_FILE, None)?;
    let mut search = Search { parts, others: Vec::new(), found: Vec::new() };
    search.index(&index, 0)?;
    let descriptor = search.only()?;
    let (digest, name) = blob(&descriptor)?;
    let wanted = Some((&digest, descriptor.size()));
    let (manifest, _) = parts.document::<ImageManifest>(&name, wanted)?;
    let config = manifest.config();
    if !matches!(config.media_type(), MediaType::ImageConfig) && !is_docker_config(config) {
        return Err(unknown_type(config, config.media_type()));
    }
    let (config_digest, config_name) = blob(config)?;
    let wanted = Some((&config_digest, config.size()));
    let (config, _) = parts.document::<ImageConfiguration>(&config_name, wanted)?;
    check_platform(&config)?;
    let unpacked = diff_ids(&config, manifest.layers().len())?;
    let layers = manifest.layers().iter().zip(unpacked).map(|(layer, unpacked)| {
        check_layer_type(layer)?;
        let (digest, part) = blob(layer)?;
        Ok(Layer { part, packed: Some((digest, layer.size())), unpacked })
    });
    let layers = layers.collect::<Result<Vec<_>, ImportError>>()?;
    let digests = Digests {
        archive: None,
        manifest: Some(digest.as_str().to_owned()),
        config: Some(config_digest.as_str().to_owned()),
        layers: layers.iter().map(|layer| layer.unpacked.as_str().to_owned()).collect(),
    };
    Ok(Found { layers, config: ImageConfig::from(&config), digests })
}

/// What `manifest.json` of `docker save` says of one image.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// Finds the image of an archive that `docker save` wrote.
pub(super) fn find_saved(parts: &Parts) -> Result<Found, ImportError> {
    let (saved, _) = parts.document::<Vec<Saved>>(DOCKER_FILE, None)?;
    let [image] = saved.as_slice() else {
        let name = |image: &Saved| image.repo_tags.clone().unwrap_or_default().join(" ");
        return Err(match saved.is_empty() {
            true => ImportError::NoPlatform { wanted: platform(), found: Vec::new() },
            false => ImportError::Several { found: saved.iter().map(name).collect() },
        });
    };
    let (config, digest) = parts.document::<ImageConfiguration>(&image.config, None)?;
    // The name is the digest, with `.json` or in `blobs/sha256`.
    let stem = Path::new(&image.config).file_stem().unwrap_or_default().to_string_lossy();
    if let Ok(wanted) = Sha256Digest::parse(&format!("sha256:{stem}")) {
        wanted.check(&digest, &image.config)?;
    }
    check_platform(&config)?;
    let unpacked = diff_ids(&config, image.layers.len())?;
    let layers = image.layers.iter().zip(unpacked);
    let layers: Vec<_> = layers
        .map(|(part, unpacked)| Layer { part: part.clone(), packed: None, unpacked })
        .collect();
    let digests = Digests {
        archive: None,
        manifest: None,
        config: Some(digest.as_str().to_owned()),
        layers: layers.iter().map(|layer| layer.unpacked.as_str().to_owned()).collect(),
    };
    Ok(Found { layers, config: ImageConfig::from(&config), digests })
}

/// A walk through an index and those in it, for images that would do.
struct Search<'a> {
    parts: &'a Parts,
    found: Vec<Descriptor>,
    others: Vec<String>,
}

impl Search<'_> {
    fn index(&mut self, index: &ImageIndex, depth: usize) -> Result<(), ImportError> {
        for descriptor in index.manifests() {
            if let Some(other) = other_platform(descriptor) {
                self.others.push(other);
                continue;
            }
            match descriptor.media_type() {
                MediaType::ImageManifest => self.add(descriptor),
                MediaType::ImageIndex if depth < MAX_NESTING => self.nested(descriptor, depth)?,
                MediaType::Other(text) => match text.as_str() {
                    "application/vnd.docker.distribution.manifest.v2+json" => self.add(descriptor),
                    "application/vnd.docker.distribution.manifest.list.v2+json"
                        if depth < MAX_NESTING =>
                    {
                        self.nested(descriptor, depth)?;
                    }
                    _ => return Err(unknown_type(descriptor, descriptor.media_type())),
                },
                other => return Err(unknown_type(descriptor, other)),
            }
        }
        Ok(())
    }

    fn nested(&mut self, descriptor: &Descriptor, depth: usize) -> Result<(), ImportError> {
        let (digest, name) = blob(descriptor)?;
        let wanted = Some((&digest, descriptor.size()));
        let (index, _) = self.parts.document::<ImageIndex>(&name, wanted)?;
        self.index(&index, depth + 1)
    }

    /// The same image may have several names.
    fn add(&mut self, descriptor: &Descriptor) {
        if self.found.iter().all(|found| found.digest() != descriptor.digest()) {
            self.found.push(descriptor.clone());
        }
    }

    fn only(mut self) -> Result<Descriptor, ImportError> {
        match self.found.len() {
            1 => Ok(self.found.remove(0)),
            0 => Err(ImportError::NoPlatform { wanted: platform(), found: self.others }),
            _ => Err(ImportError::Several { found: self.found.iter().map(name_of).collect() }),
        }
    }
}

fn platform() -> String {
    format!("linux/{ARCHITECTURE}")
}

/// The platform, where it is said and another one. Attestations have `unknown/unknown`.
fn other_platform(descriptor: &Descriptor) -> Option<String> {
    let said = descriptor.platform().as_ref()?;
    let said = format!("{}/{}", said.os(), said.architecture());
    (said != platform()).then_some(said)
}

fn check_platform(config: &ImageConfiguration) -> Result<(), ImportError> {
    let said = format!("{}/{}", config.os(), config.architecture());
    if said == platform() {
        return Ok(());
    }
    Err(ImportError::NoPlatform { wanted: platform(), found: vec![said] })
}

fn name_of(descriptor: &Descriptor) -> String {
    let annotations = descriptor.annotations().as_ref();
    let name = annotations.and_then(|annotations| annotations.get(REF_NAME));
    name.cloned().unwrap_or_else(|| descriptor.digest().to_string())
}

fn blob(descriptor: &Descriptor) -> Result<(Sha256Digest, String), ImportError> {
    let digest = Sha256Digest::parse(descriptor.digest().as_ref())?;
    let name = digest.blob();
    Ok((digest, name))
}

fn diff_ids(config: &ImageConfiguration, layers: usize) -> Result<Vec<Sha256Digest>, ImportError> {
    let ids = config.rootfs().diff_ids();
    if ids.len() != layers || layers > MAX_LAYERS {
        return Err(ImportError::LayerCount { layers, digests: ids.len() });
    }
    ids.iter().map(|id| Sha256Digest::parse(id)).collect()
}

fn is_docker_config(config: &Descriptor) -> bool {
    config.media_type().as_ref() == "application/vnd.docker.container.image.v1+json"
}

/// How a layer is compressed is told by its first bytes; its media type has to be one of an archive.
fn check_layer_type(layer: &Descriptor) -> Result<(), ImportError> {
    match layer.media_type() {
        MediaType::ImageLayer
        | MediaType::ImageLayerGzip
        | MediaType::ImageLayerZstd
        | MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => Ok(()),
        MediaType::Other(text)
            if matches!(
                text.as_str(),
                "application/vnd.docker.image.rootfs.diff.tar"
                    | "application/vnd.docker.image.rootfs.diff.tar.gzip"
                    | "application/vnd.docker.image.rootfs.diff.tar.zstd"
                    | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
            ) =>
        {
            Ok(())
        }
        other => Err(unknown_type(layer, other)),
    }
}

fn unknown_type(part: &Descriptor, media_type: &MediaType) -> ImportError {
    let (part, media_type) = (part.digest().to_string(), media_type.to_string());
    ImportError::MediaType { part, media_type }
}
