//! Addresses that the daemon serves beside its socket: taking one, saying who else holds it, and
//! trying again.
//!
//! VMs depend on none of them: where one is not to be had, the daemon serves all the same and says
//! so in its log, its status and `banger doctor`.

use crate::config::Listen;
use banger_api::ListenState;
use banger_core::net::Protocol;
use banger_host::{holder_in_words, port_holder};
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How long after a failure the address is tried again.
const PAUSE: Duration = Duration::from_secs(2);

/// Where a listener stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listening {
    /// It is not wanted.
    Off,
    /// Who asks is answered.
    Serving(SocketAddr),
    /// The address is not to be had.
    Failed {
        /// The one that is wanted.
        address: SocketAddr,
        /// Why, in one sentence.
        problem: String,
    },
}

impl Listening {
    /// As the API has it: the state, the address, and what is amiss.
    pub(crate) fn describe(&self) -> (ListenState, Option<SocketAddr>, Option<String>) {
        match self.clone() {
            Self::Off => (ListenState::Off, None, None),
            Self::Serving(address) => (ListenState::Serving, Some(address), None),
            Self::Failed { address, problem } => {
                (ListenState::Failed, Some(address), Some(problem))
            }
        }
    }
}

/// What is served at an address.
pub(crate) trait Service {
    /// What the address is once it is taken.
    type Bound;
    /// The protocols by which it is served, each of which may be taken.
    const PROTOCOLS: &'static [Protocol];
    /// What is logged when it is served.
    const SERVED: &'static str;
    /// What is logged when it cannot be.
    const UNSERVED: &'static str;

    /// Takes the address; says which it is, as where the port was left open.
    async fn bind(&self, address: SocketAddr) -> io::Result<(SocketAddr, Self::Bound)>;

    /// Serves until `ending` is cancelled or the address fails.
    async fn serve(&self, bound: Self::Bound, ending: CancellationToken) -> io::Result<()>;
}

/// Keeps a service up at its address.
#[derive(Debug)]
pub(crate) struct Keeper<S> {
    listen: Listen,
    service: S,
    listening: watch::Sender<Listening>,
    ending: CancellationToken,
}

impl<S: Service> Keeper<S> {
    /// Nothing is taken yet.
    pub(crate) fn new(listen: Listen, service: S, ending: CancellationToken) -> Self {
        Self { listen, service, listening: watch::Sender::new(Listening::Off), ending }
    }

    /// Where it stands.
    pub(crate) fn watch(&self) -> watch::Receiver<Listening> {
        self.listening.subscribe()
    }

    /// Tries to take the address, and shows what came of that.
    pub(crate) async fn take(&self) -> Option<S::Bound> {
        match self.listen {
            Listen::Off => None,
            Listen::At(address) => self.show(self.service.bind(address).await).await,
        }
    }

    /// Shows what came of an attempt.
    pub(crate) async fn show(&self, bound: io::Result<(SocketAddr, S::Bound)>) -> Option<S::Bound> {
        match bound {
            Ok((address, bound)) => {
                tracing::info!(%address, "{}", S::SERVED);
                self.listening.send_replace(Listening::Serving(address));
                Some(bound)
            }
            Err(error) => {
                self.fail(&error).await;
                None
            }
        }
    }

    /// Serves, and takes the address again whenever it was lost, until the daemon ends.
    pub(crate) async fn keep(self, first: Option<S::Bound>) {
        if self.listen == Listen::Off {
            return;
        }
        let mut bound = first;
        loop {
            if let Some(bound) = bound {
                match self.service.serve(bound, self.ending.clone()).await {
                    Ok(()) => return,
                    Err(error) => self.fail(&error).await,
                }
            }
            tokio::select! {
                () = self.ending.cancelled() => return,
                () = sleep(PAUSE) => {}
            }
            bound = self.take().await;
        }
    }

    /// Shows a failure; it is logged once, however often it comes again.
    async fn fail(&self, error: &io::Error) {
        let Listen::At(address) = self.listen else { return };
        let problem = explain(S::PROTOCOLS, address, error).await;
        let failed = Listening::Failed { address, problem: problem.clone() };
        if self.listening.send_replace(failed.clone()) != failed {
            tracing::warn!(%address, problem, "{}", S::UNSERVED);
        }
    }
}

/// Why an address is not to be had, with who holds it.
async fn explain(protocols: &'static [Protocol], address: SocketAddr, error: &io::Error) -> String {
    if error.kind() != io::ErrorKind::AddrInUse {
        return format!("{address} cannot be listened on: {error}");
    }
    let looked = tokio::task::spawn_blocking(move || port_holder(protocols, address)).await;
    format!("{address} is held by {}", holder_in_words(looked.ok().flatten()))
}
