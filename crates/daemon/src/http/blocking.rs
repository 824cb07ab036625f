//! Work of a handler that looks at files, off the threads that serve.

use crate::problem::{self, Problem};
use crate::state::AppState;
use banger_engine::Engine;

/// Runs what looks at files.
pub(super) async fn blocking<T: Send + 'static>(
    look: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(look).await.map_err(|error| problem::internal(&error))
}

/// Asks the engine something for which it looks at files.
pub(super) async fn ask_engine<T: Send + 'static>(
    state: &AppState,
    ask: impl FnOnce(&Engine) -> T + Send + 'static,
) -> Result<T, Problem> {
    let engine = state.engine.clone();
    blocking(move || ask(&engine)).await
}
