//! The order of the stages.

use crate::events::DeviceEvents;
use crate::initramfs::Initramfs;
use crate::path_error::{On, PathError};
use crate::{
    console, handover, identity, modules, mounts, network, root_disk, watchdog, work_disk,
};
use banger_core::guest::{CONFIG_PATH, GuestConfig, MODULES_DIR, MODULES_LIST, Stage};
use std::convert::Infallible;
use std::path::Path;

/// Why a boot ended, and where.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The stage that was being attempted.
    pub(crate) during: Stage,
    /// The error, with its causes.
    pub(crate) error: BootError,
}

/// Everything that can end a boot.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub(crate) enum BootError {
    Path(#[from] PathError),
    Config(#[from] ConfigError),
    Modules(#[from] modules::ModulesError),
    Events(#[from] crate::events::EventsError),
    Network(#[from] network::NetworkError),
    Disk(#[from] crate::disk::DiskError),
    Handover(#[from] handover::HandoverError),
}

/// The initrd's configuration is there but cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("`{CONFIG_PATH}` in the initrd is no configuration that this banger-init knows")]
pub(crate) struct ConfigError {
    #[source]
    source: serde_json::Error,
}

/// Brings the VM up; returns only if that fails.
pub(crate) fn boot() -> Result<Infallible, Failure> {
    console::reached(Stage::Start, None);
    let initramfs = during(Stage::Start, || Ok(Initramfs::open()?))?;
    let (events, config) = during(Stage::Start, || {
        mounts::mount_kernel_file_systems()?;
        Ok((DeviceEvents::listen()?, read_config(Path::new(CONFIG_PATH))?))
    })?;
    let image = Path::new("/");

    stage(Stage::Modules, || {
        modules::load_all(Path::new(MODULES_LIST), Path::new(MODULES_DIR))?;
        Ok(None)
    })?;
    stage(Stage::Network, || {
        network::bring_up(&config.network, &events)?;
        Ok(None)
    })?;
    stage(Stage::Root, || {
        let warning = root_disk::mount(&config.root_device, &events)?;
        mounts::enter_root(Path::new(mounts::NEW_ROOT))?;
        initramfs.free()?;
        Ok(warning)
    })?;
    stage(Stage::WorkDisk, || match &config.work_disk {
        Some(disk) => Ok(work_disk::mount(disk, &events)?),
        None => Ok(None),
    })?;
    stage(Stage::Identity, || {
        identity::set_host_name(&config.hostname)?;
        identity::write(image, &config)?;
        Ok(None)
    })?;
    let init = during(Stage::Handover, || Ok(handover::find_init(image, config.init.as_deref())?))?;
    console::reached(Stage::Handover, None);
    during(Stage::Handover, || Ok(handover::become_init(&init)?))
}

/// Runs one stage and reports it; its value is a warning.
fn stage(
    stage: Stage,
    work: impl FnOnce() -> Result<Option<String>, BootError>,
) -> Result<(), Failure> {
    let warning = during(stage, work)?;
    console::reached(stage, warning);
    Ok(())
}

/// Runs a part of a stage.
fn during<T>(stage: Stage, work: impl FnOnce() -> Result<T, BootError>) -> Result<T, Failure> {
    watchdog::enter(stage);
    work().map_err(|error| Failure { during: stage, error })
}

fn read_config(path: &Path) -> Result<GuestConfig, BootError> {
    let text = std::fs::read(path).on("read the initrd's", path)?;
    Ok(serde_json::from_slice(&text).map_err(|source| ConfigError { source })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::end;

    #[test]
    fn a_missing_and_a_broken_configuration_are_told_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let missing = end::chain(&read_config(&path).unwrap_err());
        assert!(
            missing.starts_with("cannot read the initrd's") && missing.contains("No such file")
        );
        std::fs::write(&path, r#"{"hostname":"otter","colour":"blue"}"#).unwrap();
        let broken = end::chain(&read_config(&path).unwrap_err());
        assert!(broken.contains("unknown field `colour`"), "{broken}");
    }
}
