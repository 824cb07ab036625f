//! The builds that are under way: each can be told to end or to go on, and has its VM to itself.

use super::by_hand::Handwork;
use crate::error::{EngineError, ImageBuildError};
use banger_core::id::{OpId, VmId};
use banger_core::state::Request;
use banger_core::vm::Vm;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;

/// All builds, by their operations.
#[derive(Debug, Clone, Default)]
pub(crate) struct Builds(Arc<Mutex<BTreeMap<OpId, UnderWay>>>);

/// What is known of one.
#[derive(Debug, Default)]
struct UnderWay {
    token: CancellationToken,
    handwork: Handwork,
    /// The VM that it works in, once there is one.
    vm: Option<VmId>,
    /// Another operation ends that VM.
    is_ended: bool,
}

impl Builds {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<OpId, UnderWay>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Enters a build until the result is dropped.
    pub(super) fn enter(&self, op: &OpId) -> Entered {
        let build = UnderWay::default();
        let (token, handwork) = (build.token.clone(), build.handwork.clone());
        self.lock().insert(op.clone(), build);
        Entered { builds: self.clone(), op: op.clone(), token, handwork }
    }

    /// Tells a build to end.
    pub(crate) fn cancel(&self, op: &OpId) -> Result<(), EngineError> {
        let token = self.lock().get(op).map(|build| build.token.clone());
        let token = token.ok_or_else(|| ImageBuildError::NotRunning { op: op.clone() })?;
        token.cancel();
        Ok(())
    }

    /// Tells a build that its user has done what was to be done by hand.
    pub(crate) fn save(&self, op: &OpId) -> Result<(), EngineError> {
        let builds = self.lock();
        let going_on =
            builds.get(op).filter(|build| !build.token.is_cancelled() && !build.is_ended);
        let handwork = going_on.map(|build| build.handwork.clone());
        let handwork = handwork.ok_or_else(|| ImageBuildError::NotRunning { op: op.clone() })?;
        match handwork.finish() {
            true => Ok(()),
            false => Err(ImageBuildError::NotByHand { op: op.clone() }.into()),
        }
    }

    /// Gives an operation the VM that it makes, if it is a build: from before anybody else knows of
    /// the VM until the build is over.
    pub(crate) fn give(&self, op: &OpId, vm: &VmId) {
        if let Some(build) = self.lock().get_mut(op) {
            build.vm = Some(vm.clone());
        }
    }

    /// Refuses what another operation than its build wants of a VM, unless that is its end. An image
    /// is made of its disk, which nobody else may write to.
    pub(crate) fn admit(&self, vm: &Vm, request: Request, by: &OpId) -> Result<(), EngineError> {
        match request {
            Request::Stop | Request::Kill | Request::Delete => return Ok(()),
            Request::Start | Request::Restart | Request::Set | Request::Forward => {}
        }
        match self.lock().iter().any(|(op, build)| op != by && build.works_in(&vm.id)) {
            true => Err(ImageBuildError::InTheMaking { name: vm.name.clone(), request }.into()),
            false => Ok(()),
        }
    }

    /// Notes that an operation ends a VM, and with it the build that another one is.
    pub(crate) fn end(&self, vm: &VmId, by: &OpId) {
        for (op, build) in self.lock().iter_mut() {
            build.is_ended |= op != by && build.works_in(vm);
        }
    }
}

impl UnderWay {
    fn works_in(&self, vm: &VmId) -> bool {
        self.vm.as_ref() == Some(vm)
    }
}

/// A build that is under way.
#[derive(Debug)]
pub(super) struct Entered {
    builds: Builds,
    op: OpId,
    token: CancellationToken,
    handwork: Handwork,
}

impl Entered {
    /// Completes when the build is to end.
    pub(super) async fn cancelled(&self) {
        self.token.cancelled().await;
    }

    /// Whether the build is to end.
    pub(super) fn is_cancelled(&self) -> bool {
        self.token.is_cancelled()
    }

    /// The work that its user does by hand, if there is to be any.
    pub(super) fn handwork(&self) -> &Handwork {
        &self.handwork
    }

    /// Whether another operation has ended the VM.
    pub(super) fn is_ended(&self) -> bool {
        self.builds.lock().get(&self.op).is_some_and(|build| build.is_ended)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.builds.lock().remove(&self.op);
    }
}
