//! How long a driver waits for its VMM.

use crate::VmmError;
use std::time::Duration;

/// The longest that a driver waits for one step of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// For a connection, a greeting, or the answer to a request that only sets something.
    pub answer: Duration,
    /// For the answer to the request that starts the machine, in which the VMM allocates memory
    /// and loads the kernel.
    pub start: Duration,
}

impl Default for Patience {
    /// Answers come within milliseconds on an idle machine. A machine that emulates several guests
    /// on two processors was seen to take seconds, and one that emulates KVM half a minute to start
    /// a machine. A VMM that ends says so at once, so that only one that hangs is waited for in vain.
    fn default() -> Self {
        Self { answer: Duration::from_secs(15), start: Duration::from_secs(120) }
    }
}

/// Awaits one step of a conversation, at most for `limit`.
pub(crate) async fn within<T>(
    limit: Duration,
    request: &str,
    step: impl Future<Output = Result<T, VmmError>>,
) -> Result<T, VmmError> {
    match tokio::time::timeout(limit, step).await {
        Ok(outcome) => outcome,
        Err(_elapsed) => Err(VmmError::Timeout { request: request.to_owned(), waited: limit }),
    }
}
