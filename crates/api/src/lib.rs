//! The daemon's API: wire types, errors, and a client.
//!
//! HTTP/1.1 with JSON over a Unix socket. A request either answers with one JSON document, or, for
//! an operation that takes time, with `application/x-ndjson`: one [`Event`] a line, the last of
//! which is `done` or `failed`. Every error is an [`ErrorBody`], with an HTTP status of its own or
//! in the last event.
//!
//! | method and path | body | answer |
//! |---|---|---|
//! | `GET /v1/version` | | [`Version`] |
//! | `GET /v1/daemon` | | [`DaemonStatus`] |
//! | `POST /v1/daemon/stop` | | 202; the daemon ends, VMs go on |
//! | `GET /v1/daemon/log-level` | | [`LogLevelStatus`] |
//! | `PUT /v1/daemon/log-level` | [`SetLogLevel`] | [`LogLevelStatus`] |
//! | `GET /v1/audit` | | [`AuditReport`] |
//! | `GET /v1/doctor?scope=` | | [`DoctorReport`] |
//! | `POST /v1/doctor/fix` | | [`FixReport`] |
//! | `POST /v1/doctor/undo` | | [`FixReport`] |
//! | `GET /v1/vms` | | [`VmList`] |
//! | `POST /v1/vms` | [`CreateVm`] | events |
//! | `GET /v1/vms/{ref}` | | [`Vm`] |
//! | `PATCH /v1/vms/{ref}` | `SpecChange` | events |
//! | `DELETE /v1/vms/{ref}` | | events |
//! | `POST /v1/vms/{ref}/start` | [`StartVm`] | events |
//! | `POST /v1/vms/{ref}/stop` | [`StopVm`] | events |
//! | `POST /v1/vms/{ref}/restart` | [`RestartVm`] | events |
//! | `POST /v1/vms/{ref}/kill` | [`KillVm`] | events |
//! | `POST /v1/vms/{ref}/forwards` | [`AddForward`] | events |
//! | `DELETE /v1/vms/{ref}/forwards?host_port=&protocol=` | | events |
//! | `GET /v1/vms/{ref}/ssh` | | [`SshTarget`] |
//! | `GET /v1/vms/{ref}/stats` | | [`VmStats`] |
//! | `GET /v1/vms/{ref}/logs?source=&follow=&tail=&previous=` | | `text/plain`, streamed |
//! | `GET /v1/vms/{ref}/why` | | [`Why`] |
//! | `GET /v1/dns` | | [`DnsStatus`] |
//! | `POST /v1/dns/install` | | [`DnsStatus`] |
//! | `POST /v1/dns/uninstall` | | [`DnsStatus`] |
//! | `GET /v1/ssh-config` | | [`SshConfig`] |
//! | `GET /v1/images` | | [`ImageList`] |
//! | `POST /v1/images` | [`RegisterImage`] | events |
//! | `POST /v1/image-imports` | [`ImportImage`] | events; closing them breaks it off |
//! | `GET /v1/images/{ref}` | | [`ImageView`] |
//! | `PATCH /v1/images/{ref}` | [`RenameImage`] | [`ImageView`] |
//! | `DELETE /v1/images/{ref}` | | events |
//! | `POST /v1/images/{ref}/promote` | | events |
//! | `POST /v1/image-builds` | [`BuildImage`] | events |
//! | `DELETE /v1/image-builds/{op}` | | 202; the build ends |
//! | `POST /v1/image-builds/{op}/save` | | 202; the build goes on, once the work by hand is done |
//! | `GET /v1/bundle` | | [`BundleStatus`] |
//! | `POST /v1/bundle/build` | | events |
//! | `POST /v1/bundle/verify` | | events |
//! | `POST /v1/bundle/fetch` | [`FetchBundle`] | events |
//! | `GET /metrics` | | `text/plain`, Prometheus's format |
//! | `GET /openapi.json` | | the OpenAPI document |

pub mod build;
mod bundle;
pub mod client;
mod doctor;
mod error;
mod event;
mod host_dns;
mod image;
mod image_build;
mod import;
mod log;
mod types;
mod why;

pub use bundle::{BundleContent, BundlePart, FetchBundle};
pub use doctor::{Check, DoctorQuery, DoctorReport, FixReport, Scope, ScopeError, Verdict};
pub use error::ErrorBody;
pub use event::{Event, Outcome, Timing};
pub use host_dns::{DnsRecipe, HostDnsState, HostDnsStatus};
pub use image::{RegisterImage, RenameImage};
pub use image_build::{BuildImage, CopyIntoImage};
pub use import::{ContainerConfig, ImageImport, ImportImage};
pub use log::{LogLevel, LogLevelError, LogLevelStatus, SetLogLevel};
pub use types::*;
pub use why::{BootStage, Finding, LogEnd, LogLine, Why};

/// The version of this API. A client and a daemon with different versions do not talk.
pub const API_VERSION: u32 = 1;
