//! Carrying out plans: the ledger first, then the host.
//!
//! Set-up stops at the first error, undoes what it added and returns that error with the undo
//! errors attached. Tear-down goes on through every resource and returns all errors. A row leaves
//! the ledger only when its object is gone, so what could not be removed is found again.

use crate::error::{EngineError, LeftBehind};
use crate::measure::Measures;
use crate::store::Store;
use banger_core::error::fault;
use banger_core::id::OpId;
use banger_core::resource::{Resource, ResourceKey};
use banger_core::unit::elapsed_ms;
use banger_host::{Change, Host, HostError};
use std::sync::Arc;
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Ledger and host together.
#[derive(Debug, Clone)]
pub(crate) struct Executor {
    store: Arc<Store>,
    host: Arc<dyn Host>,
    measures: Measures,
}

/// Why a set-up ended, after its undo.
#[derive(Debug)]
pub(crate) enum SetupError {
    /// The host refused.
    Host { source: HostError, undo: Vec<LeftBehind> },
    /// It was told to end.
    Cancelled { undo: Vec<LeftBehind> },
    /// The ledger could not be written.
    Ledger(EngineError),
}

impl Executor {
    pub(crate) fn new(store: Arc<Store>, host: Arc<dyn Host>, measures: Measures) -> Self {
        Self { store, host, measures }
    }

    /// Puts all resources in place, in order. Returns the keys that it added to the ledger.
    pub(crate) async fn set_up(
        &self,
        op: &OpId,
        plan: Vec<Resource>,
        cancel: &CancellationToken,
    ) -> Result<Vec<ResourceKey>, SetupError> {
        let (this, op, cancel) = (self.clone(), op.clone(), cancel.clone());
        blocking(move || this.set_up_now(&op, &plan, &cancel)).await
    }

    fn set_up_now(
        &self,
        op: &OpId,
        plan: &[Resource],
        cancel: &CancellationToken,
    ) -> Result<Vec<ResourceKey>, SetupError> {
        let added = self.store.enter(op, plan).map_err(SetupError::Ledger)?;
        for resource in plan {
            if cancel.is_cancelled() {
                return Err(SetupError::Cancelled { undo: self.undo(op, plan, &added) });
            }
            if let Err(source) = self.ensure(op, resource) {
                return Err(SetupError::Host { source, undo: self.undo(op, plan, &added) });
            }
        }
        Ok(added)
    }

    /// Removes what an operation added, newest first. What it did not come to is not there, and
    /// removing that succeeds.
    fn undo(&self, op: &OpId, plan: &[Resource], added: &[ResourceKey]) -> Vec<LeftBehind> {
        let is_ours = |resource: &&Resource| added.contains(&resource.key());
        let plan: Vec<Resource> = plan.iter().rev().filter(is_ours).cloned().collect();
        self.tear_down_now(op, &plan)
    }

    /// Removes what a failed operation added, newest first.
    pub(crate) async fn revert(
        &self,
        op: &OpId,
        plan: Vec<Resource>,
        added: Vec<ResourceKey>,
    ) -> Vec<LeftBehind> {
        let (this, op) = (self.clone(), op.clone());
        blocking(move || this.undo(&op, &plan, &added)).await
    }

    /// Removes all resources, in order, whatever fails. Returns what is left. A directory of a VM
    /// stays when anything else of that VM does.
    pub(crate) async fn tear_down(&self, op: &OpId, plan: Vec<Resource>) -> Vec<LeftBehind> {
        let (this, op) = (self.clone(), op.clone());
        blocking(move || this.tear_down_now(&op, &plan)).await
    }

    fn tear_down_now(&self, op: &OpId, plan: &[Resource]) -> Vec<LeftBehind> {
        let mut left = Vec::new();
        let mut gone = Vec::new();
        for resource in plan {
            // A directory takes with it what lives in it: not while any of that is held.
            let is_held = |left: &LeftBehind| *left.key.owner() == resource.owner();
            if resource.role().is_directory() && left.iter().any(is_held) {
                continue;
            }
            match self.remove(op, resource) {
                // What has the name is somebody else's, so ours is not there.
                Ok(()) | Err(HostError::Foreign { .. }) => gone.push(resource.key()),
                Err(error) => {
                    let (key, object) = (resource.key(), resource.object());
                    left.push(LeftBehind { key, object, error });
                }
            }
        }
        // A row without its object names what may be there, and harms nobody; the next daemon
        // start strikes it.
        if let Err(error) = self.store.strike(&gone) {
            tracing::error!(op_id = %op, error = fault(&error), "rows of removed objects remain");
        }
        left
    }

    fn ensure(&self, op: &OpId, resource: &Resource) -> Result<(), HostError> {
        let since = Instant::now();
        let result = self.host.ensure(resource);
        self.note(op, "ensure", resource, &result, since);
        result.map(|_change| ())
    }

    fn remove(&self, op: &OpId, resource: &Resource) -> Result<(), HostError> {
        let since = Instant::now();
        let result = self.host.remove(resource);
        self.note(op, "remove", resource, &result, since);
        result.map(|_change| ())
    }

    /// Logs what the host made of a resource, and counts what it refused.
    fn note(
        &self,
        op: &OpId,
        verb: &'static str,
        resource: &Resource,
        result: &Result<Change, HostError>,
        since: Instant,
    ) {
        let elapsed_ms = elapsed_ms(since.elapsed());
        let (key, object) = (resource.key(), resource.object());
        match result {
            Ok(change) => {
                tracing::debug!(op_id = %op, %key, object, ?change, elapsed_ms, "{verb}");
            }
            Err(error) => {
                self.measures.host_error(verb, resource.role());
                let error = fault(error);
                tracing::debug!(op_id = %op, %key, object, error, elapsed_ms, "{verb} failed");
            }
        }
    }
}

/// Runs host work where blocking is allowed.
///
/// # Panics
///
/// If the work panics, which is a defect: it is passed on.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let span = tracing::Span::current();
    match tokio::task::spawn_blocking(move || span.in_scope(work)).await {
        Ok(value) => value,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}
