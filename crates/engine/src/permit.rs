//! What lets guests' packets through other firewalls of the host: put there when somebody asks for
//! it, kept until somebody asks to have it undone.
//!
//! The ledger's rows are the memory of it. A firewall that lays its rules anew forgets what was put
//! there, so it is looked after when the daemon starts and at each start of a VM; nothing watches in
//! between.

use crate::error::{EngineError, LeftBehind};
use crate::executor::{Executor, SetupError};
use crate::store::Store;
use banger_core::error::fault;
use banger_core::id::OpId;
use banger_core::names::Layout;
use banger_core::plan::{BridgeSpec, plan_permit};
use banger_core::resource::{DnsGate, Gatekeeper, Resource, Role};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// What is to be let through by whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// Whose rules are in the way.
    pub gatekeeper: Gatekeeper,
    /// Whether guests' DNS queries are refused too.
    pub dns: DnsGate,
}

/// The permits of the instance, as the ledger has them; one change at a time.
#[derive(Debug)]
pub(crate) struct Permits {
    layout: Layout,
    bridge: BridgeSpec,
    executor: Executor,
    store: Arc<Store>,
    granted: Mutex<BTreeMap<Gatekeeper, DnsGate>>,
}

impl Permits {
    pub(crate) fn new(
        layout: Layout,
        bridge: BridgeSpec,
        executor: Executor,
        store: Arc<Store>,
    ) -> Self {
        Self { layout, bridge, executor, store, granted: Mutex::default() }
    }

    /// Takes up what the ledger has, and puts it back where it was forgotten.
    pub(crate) async fn adopt(&self, op: &OpId) -> Result<(), EngineError> {
        let recorded = self.store.ledger()?.into_iter().filter_map(|row| match row {
            Resource::Permit { gatekeeper, dns, .. } => {
                let dns = if dns.is_some() { DnsGate::Closed } else { DnsGate::Open };
                Some((gatekeeper, dns))
            }
            _ => None,
        });
        self.granted.lock().await.extend(recorded);
        self.restore(op).await;
        Ok(())
    }

    /// Has one gatekeeper let guests' packets through. What it was asked for before it keeps.
    pub(crate) async fn grant(
        &self,
        op: &OpId,
        Permission { gatekeeper, dns }: Permission,
    ) -> Result<Resource, EngineError> {
        let mut granted = self.granted.lock().await;
        let dns = granted.get(&gatekeeper).map_or(dns, |known| dns.max(*known));
        match self.ensure(op, gatekeeper, dns).await {
            Ok(()) => {
                granted.insert(gatekeeper, dns);
                Ok(self.plan(gatekeeper, dns))
            }
            Err(SetupError::Host { source, undo }) => {
                // Left behind, its row stays, and with it the wish to have it undone.
                if !undo.is_empty() {
                    granted.insert(gatekeeper, dns);
                }
                Err(EngineError::Permit { gatekeeper, source })
            }
            Err(SetupError::Ledger(error)) => Err(error),
            Err(SetupError::Cancelled { .. }) => Err(EngineError::ShuttingDown),
        }
    }

    /// Undoes all that was granted. Returns what is gone, and what is left.
    pub(crate) async fn withdraw(&self, op: &OpId) -> (Vec<Resource>, Vec<LeftBehind>) {
        let mut granted = self.granted.lock().await;
        let mut gone: Vec<Resource> =
            granted.iter().map(|(of, dns)| self.plan(*of, *dns)).collect();
        let left = self.executor.tear_down(op, gone.clone()).await;
        let is_left = |role: Role| left.iter().any(|left| left.key.role() == role);
        gone.retain(|permit| !is_left(permit.role()));
        granted.retain(|of, _| is_left(of.role()));
        (gone, left)
    }

    /// Puts back what has been forgotten. VMs go on without it, so a failure is logged, and told
    /// by the doctor.
    pub(crate) async fn restore(&self, op: &OpId) {
        let granted = self.granted.lock().await;
        for (of, dns) in granted.iter() {
            match self.ensure(op, *of, *dns).await {
                Ok(()) | Err(SetupError::Cancelled { .. }) => {}
                Err(SetupError::Ledger(error)) => {
                    tracing::error!(op_id = %op, error = fault(&error), "no row for a permit");
                }
                Err(SetupError::Host { source, .. }) => {
                    let (gatekeeper, error) = (of.program(), fault(&source));
                    tracing::warn!(op_id = %op, gatekeeper, error, "guests may not be let through");
                }
            }
        }
    }

    async fn ensure(&self, op: &OpId, of: Gatekeeper, dns: DnsGate) -> Result<(), SetupError> {
        let plan = vec![self.plan(of, dns)];
        self.executor.set_up(op, plan, &CancellationToken::new()).await.map(drop)
    }

    fn plan(&self, of: Gatekeeper, dns: DnsGate) -> Resource {
        plan_permit(&self.layout, &self.bridge, of, dns)
    }
}
