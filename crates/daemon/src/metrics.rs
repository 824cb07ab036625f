//! The metrics, in Prometheus's text format, on the socket and on an address of the loopback
//! interface.
//!
//! What happens is counted where it happens; how things are is looked at when somebody asks. Of
//! that only the inventory is costly, so one that is a minute old is as good as a new one.

mod render;

use crate::config::Listen;
use crate::dns::Dns;
use crate::http;
use crate::listening::{Keeper, Listening, Service};
use axum::routing::IntoMakeService;
use banger_api::{MetricsStatus, Version};
use banger_core::error::fault;
use banger_core::net::Protocol;
use banger_engine::{Engine, EngineError};
use banger_host::facts::this_process;
use render::{Scrape, render};
use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

/// How old the inventory may be whose size is told.
const INVENTORY_AGE: Duration = Duration::from_secs(60);
/// How long answers that are under way may go on after the daemon was asked to end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The metrics as the rest of the daemon sees them; clones are the same ones.
#[derive(Debug, Clone)]
pub struct Metrics {
    figures: Figures,
    listening: watch::Receiver<Listening>,
}

/// Where the figures come from.
#[derive(Debug, Clone)]
pub struct Figures {
    /// VMs, ledger and inventory.
    pub engine: Engine,
    /// Queries.
    pub dns: Dns,
    /// The daemon's build.
    pub version: Version,
}

impl Metrics {
    /// Takes the address, if there is to be one, and serves it until `ending` is cancelled. The
    /// task ends with that.
    pub async fn start(
        listen: Listen,
        figures: Figures,
        ending: CancellationToken,
    ) -> (Self, JoinHandle<()>) {
        let keeper = Keeper::new(listen, figures.clone(), ending);
        let metrics = Self { figures, listening: keeper.watch() };
        let first = keeper.take().await;
        (metrics, tokio::spawn(keeper.keep(first)))
    }

    /// What the daemon's status says of the address.
    pub fn status(&self) -> MetricsStatus {
        let (state, address, problem) = self.listening.borrow().describe();
        MetricsStatus { state, address, problem }
    }

    /// All metrics, as text.
    pub async fn text(&self) -> String {
        self.figures.text().await
    }
}

impl Figures {
    /// All metrics, as text.
    pub(crate) async fn text(&self) -> String {
        let scrape = self.scrape().await;
        render(&scrape, self.engine.measures(), &self.version)
    }

    /// Looks at how things are. What cannot be looked at is left out.
    async fn scrape(&self) -> Scrape {
        let inventory = self.engine.inventory_size(INVENTORY_AGE).await;
        let ledger = self.engine.ledger_size();
        Scrape {
            loads: self.engine.loads().await,
            ledger: ledger.inspect_err(left_out).ok(),
            inventory: inventory.inspect_err(left_out).ok(),
            names: self.dns.names(),
            queries: self.dns.queries(),
            own: this_process(),
        }
    }
}

/// Says what the metrics lack.
fn left_out(error: &EngineError) {
    tracing::warn!(error = fault(error), "the metrics lack a size");
}

impl Service for Figures {
    type Bound = TcpListener;
    const PROTOCOLS: &'static [Protocol] = &[Protocol::Tcp];
    const SERVED: &'static str = "serving metrics";
    const UNSERVED: &'static str = "no metrics are served beside the socket; trying again";

    async fn bind(&self, address: SocketAddr) -> io::Result<(SocketAddr, TcpListener)> {
        let listener = TcpListener::bind(address).await?;
        Ok((listener.local_addr()?, listener))
    }

    async fn serve(&self, listener: TcpListener, ending: CancellationToken) -> io::Result<()> {
        let service: IntoMakeService<_> = http::metrics_alone(self.clone()).into_make_service();
        let serving = axum::serve(listener, service);
        let serving = serving.with_graceful_shutdown(ending.clone().cancelled_owned());
        // One who asks and does not listen must not keep the daemon.
        let patience = async {
            ending.cancelled().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            served = serving.into_future() => served,
            () = patience => Ok(()),
        }
    }
}
