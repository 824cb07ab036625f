//! `banger vm logs`.

use super::Session;
use crate::args::LogsArgs;
use crate::failure::Failure;
use crate::render;

/// Passes the log on as it is: a console holds whatever the guest wrote, and is read best on a
/// terminal.
pub(super) async fn run(session: &Session<'_>, args: &LogsArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    if args.why {
        let why = client.why(&args.reference).await?;
        return session.output.answer(&why, render::why::text);
    }
    let mut log = client.logs(&args.reference, &args.query()).await?;
    while let Some(bytes) = log.next().await? {
        session.output.bytes(&bytes)?;
    }
    Ok(())
}
