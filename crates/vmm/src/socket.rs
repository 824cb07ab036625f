//! Connecting to a VMM's control socket.

use crate::VmmError;
use std::io::ErrorKind;
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long to pause before a full backlog is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// Connects to the socket. A VMM that serves one client at a time has a short backlog, and a
/// non-blocking `connect` to a full one fails with `EAGAIN` (unix(7)): that is a busy VMM, so it is
/// tried again until the caller's deadline. Any other failure is final.
pub(crate) async fn connect(path: &Path) -> Result<UnixStream, VmmError> {
    loop {
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                tokio::time::sleep(RETRY).await;
            }
            Err(source) => return Err(VmmError::Connect { path: path.to_owned(), source }),
        }
    }
}
