//! The network that all VMs of the instance share: who is a member, and making it so.

use crate::error::{EngineError, LeftBehind};
use crate::executor::{Executor, SetupError};
use banger_core::error::fault;
use banger_core::id::{OpId, VmId};
use banger_core::names::Layout;
use banger_core::plan::{BridgeSpec, NetworkPlan, plan_network};
use banger_core::resource::{Member, ResourceKey};
use std::collections::BTreeMap;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// The shared network. One change at a time, each rendered from the set of members.
#[derive(Debug)]
pub(crate) struct Network {
    layout: Layout,
    bridge: BridgeSpec,
    executor: Executor,
    members: Mutex<BTreeMap<VmId, Member>>,
}

impl Network {
    pub(crate) fn new(layout: Layout, bridge: BridgeSpec, executor: Executor) -> Self {
        Self { layout, bridge, executor, members: Mutex::new(BTreeMap::new()) }
    }

    pub(crate) fn bridge(&self) -> &BridgeSpec {
        &self.bridge
    }

    /// Makes the VM a member, or changes its membership, and the network so.
    pub(crate) async fn join(
        &self,
        op: &OpId,
        vm: &VmId,
        member: Member,
    ) -> Result<(), EngineError> {
        let mut members = self.members.lock().await;
        let before = members.insert(vm.clone(), member);
        let result = self.apply(op, &members).await;
        if result.is_err() {
            match before {
                Some(before) => members.insert(vm.clone(), before),
                None => members.remove(vm),
            };
        }
        result
    }

    /// Makes the network what it should be, where somebody has changed it.
    pub(crate) async fn refresh(&self, op: &OpId) -> Result<(), EngineError> {
        let members = self.members.lock().await;
        self.apply(op, &members).await
    }

    /// Takes the VM out. The network goes with its last member.
    ///
    /// What is returned is left of the shared network, or still lists the VM.
    pub(crate) async fn leave(&self, op: &OpId, vm: &VmId) -> Vec<LeftBehind> {
        let mut members = self.members.lock().await;
        members.remove(vm);
        match self.plan(&members) {
            NetworkPlan::Remove(plan) => self.executor.tear_down(op, plan).await,
            NetworkPlan::Ensure(plan) => {
                match self.executor.set_up(op, plan, &CancellationToken::new()).await {
                    Err(SetupError::Host { source, .. }) => vec![LeftBehind {
                        key: ResourceKey::FIREWALL,
                        object: self.layout.nft_table().to_string(),
                        error: source,
                    }],
                    Err(SetupError::Ledger(error)) => {
                        tracing::error!(op_id = %op, error = fault(&error), "no row for the network");
                        Vec::new()
                    }
                    Ok(_) | Err(SetupError::Cancelled { .. }) => Vec::new(),
                }
            }
        }
    }

    /// Starts with the given members: after a daemon start.
    pub(crate) async fn adopt(
        &self,
        op: &OpId,
        adopted: BTreeMap<VmId, Member>,
    ) -> Result<(), EngineError> {
        let mut members = self.members.lock().await;
        *members = adopted;
        self.apply(op, &members).await
    }

    fn plan(&self, members: &BTreeMap<VmId, Member>) -> NetworkPlan {
        plan_network(&self.layout, &self.bridge, members.values().cloned().collect())
    }

    async fn apply(&self, op: &OpId, members: &BTreeMap<VmId, Member>) -> Result<(), EngineError> {
        match self.plan(members) {
            NetworkPlan::Ensure(plan) => {
                // Short and shared: nobody's interruption ends it half-way.
                match self.executor.set_up(op, plan, &CancellationToken::new()).await {
                    Ok(_) => Ok(()),
                    Err(SetupError::Host { source, .. }) => Err(EngineError::Network { source }),
                    Err(SetupError::Ledger(error)) => Err(error),
                    Err(SetupError::Cancelled { .. }) => Err(EngineError::ShuttingDown),
                }
            }
            NetworkPlan::Remove(plan) => {
                let left = self.executor.tear_down(op, plan).await;
                match left.into_iter().next() {
                    Some(left) => Err(EngineError::Network { source: left.error }),
                    None => Ok(()),
                }
            }
        }
    }
}
