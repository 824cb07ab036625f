//! The builds that are under way, so that one can be cancelled.

use crate::error::{EngineError, ImageBuildError};
use banger_core::id::OpId;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// All builds, by their operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builds(Arc<Mutex<BTreeMap<OpId, CancellationToken>>>);

impl Builds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<OpId, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a build until the result is dropped.
    pub(super) fn enter(&self, op: &OpId) -> Entered {
        let token = CancellationToken::new();
        self.lock().insert(op.clone(), token.clone());
        Entered { builds: self.clone(), op: op.clone(), token }
    }

    /// Tells a build to end.
    pub(crate) fn cancel(&self, op: &OpId) -> Result<(), EngineError> {
        let token = self.lock().get(op).cloned();
        let token = token.ok_or_else(|| ImageBuildError::NotRunning { op: op.clone() })?;
        token.cancel();
        Ok(())
    }
}

/// A build that is under way.
#[derive(Debug)]
pub(super) struct Entered {
    builds: Builds,
    op: OpId,
    token: CancellationToken,
}

impl Entered {
    /// Completes when the build is to end.
    pub(super) async fn cancelled(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.builds.lock().remove(&self.op);
    }
}
