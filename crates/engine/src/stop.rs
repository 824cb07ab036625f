//! Ending a VM: the guest is asked, then the VMM is killed, then the host is cleaned.

use crate::error::EngineError;
use crate::executor::blocking;
use crate::monitor::{Ended, Sign};
use crate::operation::{Phase, Reporter};
use crate::task::VmTask;
use banger_core::error::chain;
use banger_core::plan::plan_delete;
use banger_core::resource::{Observed, Resource, ResourceKey, Role, VmmProcess};
use banger_core::state::VmState;
use banger_host::Signal;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long the kernel may take to end a process that was sent SIGKILL.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// How long a VMM may take to end after another deadly signal, until the answer is that it did not.
const SIGNAL_LIMIT: Duration = Duration::from_secs(5);

/// How a guest came to its end.
#[derive(Debug)]
enum End {
    /// It ended by itself when asked.
    Asked,
    /// It had to be killed, and why.
    Killed(String),
}

impl VmTask {
    /// Asks the guest to end, kills it after `timeout`, and cleans up.
    pub(crate) async fn stop(
        &mut self,
        timeout: Duration,
        report: &mut Reporter,
    ) -> Result<(), EngineError> {
        self.vm.last_error = None;
        let cancel = self.renew_cancel();
        if self.monitor.is_some() {
            self.enter(VmState::Stopping)?;
            let phase = report.begin(Phase::Shutdown);
            if let End::Killed(why) = self.end_guest(timeout, &cancel).await? {
                report.note(format!("`{}` was killed: {why}", self.vm.name));
            }
            report.end(phase);
        }
        self.finish_stop(report).await
    }

    async fn end_guest(
        &mut self,
        timeout: Duration,
        cancel: &CancellationToken,
    ) -> Result<End, EngineError> {
        let deadline = Instant::now() + timeout;
        let driver = Arc::clone(self.shared.ports.driver(self.vm.vmm));
        let asked = driver.request_shutdown(&self.paths.api_socket).await;
        let why = match asked {
            Ok(()) => tokio::select! {
                biased;
                _ended = self.exit() => return Ok(End::Asked),
                () = cancel.cancelled() => "another request cut the wait short".to_owned(),
                () = tokio::time::sleep_until(deadline) => {
                    format!("the guest did not end within {} s", timeout.as_secs())
                }
            },
            Err(error) => format!("it could not be asked to end: {}", chain(&error)),
        };
        self.signal(Signal::KILL).await?;
        if timeout_at(Instant::now() + KILL_LIMIT, self.exit()).await.is_err() {
            tracing::error!(vm_id = %self.vm.id, "the VMM has not ended after SIGKILL");
        }
        Ok(End::Killed(why))
    }

    /// Sends a signal to the VMM; after a deadly one, waits for the end and cleans up.
    pub(crate) async fn kill(
        &mut self,
        signal: Signal,
        report: &mut Reporter,
    ) -> Result<(), EngineError> {
        if self.monitor.is_none() {
            return self.finish_stop(report).await;
        }
        self.signal(signal).await?;
        if signal.spares() {
            return Ok(());
        }
        let limit = if signal == Signal::KILL { KILL_LIMIT } else { SIGNAL_LIMIT };
        if timeout_at(Instant::now() + limit, self.exit()).await.is_err() {
            report.note(format!("the VMM of `{}` got {signal} and goes on", self.vm.name));
            return Ok(());
        }
        self.vm.last_error = Some(format!("killed with {signal}"));
        self.enter(VmState::Stopping)?;
        report.note(format!("`{}` was killed with {signal}", self.vm.name));
        self.finish_stop(report).await
    }

    /// Removes the VM with everything that it has. Once begun it is finished, by the next daemon
    /// start if need be.
    pub(crate) async fn delete(&mut self, report: &mut Reporter) -> Result<(), EngineError> {
        self.vm.deleting = true;
        self.enter(VmState::Stopping)?;
        let phase = report.begin(Phase::TearDown);
        self.monitor = None;
        let recorded = self.shared.store.recorded(&self.vm.id)?;
        let mut left = self.shared.executor.tear_down(&report.id, plan_delete(recorded)).await;
        left.extend(self.shared.network.leave(&report.id, &self.vm.id).await);
        report.end(phase);
        self.settle(left, VmState::Stopped, report)?;
        self.shared.store.remove_vm(&self.vm.id)
    }

    async fn signal(&self, signal: Signal) -> Result<(), EngineError> {
        let processes = Arc::clone(&self.shared.ports.processes);
        let vmm = self.vmm_process();
        // That it runs no longer is as good: the exit is awaited either way.
        let _change = blocking(move || processes.signal(&vmm, signal)).await?;
        Ok(())
    }

    /// The VMM as far as it takes to find it.
    fn vmm_process(&self) -> VmmProcess {
        let key = ResourceKey::of_vm(&self.vm.id, Role::Vmm);
        let observed = Observed { key, object: String::new() };
        match observed.leftover(&self.shared.settings.layout) {
            Some(Resource::VmmProcess(process)) => process,
            _ => unreachable!("the leftover of a VMM is a VMM"),
        }
    }

    /// Waits for the VMM's end; at once if nothing is watched.
    async fn exit(&mut self) -> Option<Ended> {
        loop {
            match self.monitor.as_mut()?.next().await {
                Sign::Exited(ended) => return Some(ended),
                Sign::Ready(readiness) => self.enter_readiness(readiness),
            }
        }
    }
}
