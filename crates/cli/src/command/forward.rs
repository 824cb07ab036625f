//! `banger vm forward`.

use super::Session;
use crate::args::ForwardArgs;
use crate::args::Timings;
use crate::failure::Failure;
use crate::output::Format;
use crate::progress::Progress;
use crate::render;
use banger_api::client::{Client, ClientError, EventStream};
use banger_api::{AddForward, Outcome, RemoveForward};
use banger_core::forward::{Forward, ForwardChange};

pub(super) async fn run(session: &Session<'_>, args: &ForwardArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    let Some(change) = args.change() else { return list(session, &client, &args.reference).await };
    let outcome = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        let stream = begin(&client, &args.reference, change).await?;
        stream.finish(|event| tracker.show(event)).await?
    };
    session.output.answer(&outcome, |outcome| tell(outcome, change))
}

async fn list(session: &Session<'_>, client: &Client, reference: &str) -> Result<(), Failure> {
    let vm = client.vm(reference).await?;
    if vm.forwards.is_empty() && session.output.format() == Format::Text {
        let name = &vm.name;
        let how = format!("`banger vm forward {name} 8080:80` makes one");
        session.output.note(&format!("no port of this host leads to `{name}`; {how}"));
        return Ok(());
    }
    session.output.answer(&vm.forwards, |_| render::vm::forward_table(&vm))
}

async fn begin(
    client: &Client,
    reference: &str,
    change: ForwardChange,
) -> Result<EventStream, ClientError> {
    match change {
        ForwardChange::Add(Forward { from, guest_port }) => {
            let (protocol, host_port) = (from.protocol, from.host_port);
            let request = AddForward { protocol, host_port, guest_port };
            client.add_forward(reference, &request).await
        }
        ForwardChange::Remove(from) => {
            let (protocol, host_port) = (from.protocol, from.host_port);
            client.remove_forward(reference, &RemoveForward { host_port, protocol }).await
        }
    }
}

/// What was done, or that nothing had to be.
fn tell(outcome: &Outcome, change: ForwardChange) -> String {
    let name = outcome.vm.as_ref().map(|vm| vm.name.to_string()).unwrap_or_default();
    match change {
        _ if !outcome.changed => format!("{name}: already as asked\n"),
        ForwardChange::Add(Forward { from, guest_port }) => {
            format!("{name}: {from} leads to {name}.vm:{guest_port}\n")
        }
        ForwardChange::Remove(from) => format!("{name}: {from} is free\n"),
    }
}
