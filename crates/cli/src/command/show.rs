//! `banger vm list`, `show` and `stats`.

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

pub(super) async fn stats(session: &Session<'_>, refs: &[String]) -> Result<(), Failure> {
    let client = session.client().await?;
    let all: Vec<String> = match refs {
        [] => client.vms().await?.vms.into_iter().map(|vm| vm.name.to_string()).collect(),
        refs => refs.to_vec(),
    };
    let reports = ask(&all, async |reference| client.stats(&reference).await).await;
    if all.is_empty() && session.output.format() == Format::Text {
        session.output.note("there is no VM; `banger vm create` makes one");
        return Ok(());
    }
    tell_all(session.output, "stats", &reports, |stats| render::vm::stats(stats))
}
