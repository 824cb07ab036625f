//! `banger vm list` and `show`.

use super::Session;
use super::several::{ask, tell_all};
use crate::failure::Failure;
use crate::output::Format;
use crate::render;
use jiff::Timestamp;

pub(super) async fn list(session: &Session<'_>) -> Result<(), Failure> {
    let list = session.client().await?.vms().await?;
    if list.vms.is_empty() && session.output.format() == Format::Text {
        session.output.note("there is no VM; `banger vm create` makes one");
        return Ok(());
    }
    session.output.answer(&list, |list| render::vm::list(&list.vms, Timestamp::now()))
}

pub(super) async fn show(session: &Session<'_>, refs: &[String]) -> Result<(), Failure> {
    let client = session.client().await?;
    let reports = ask(refs, async |reference| client.vm(&reference).await).await;
    tell_all(session.output, "vm", &reports, |vms| {
        vms.map(render::vm::show).collect::<Vec<_>>().join("\n")
    })
}
