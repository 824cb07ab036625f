//! `banger image build`.
//!
//! The first signal cancels the build, and its end is awaited: then nothing of it is left. A second
//! one leaves it to the daemon, which is said.

use super::Session;
use super::image::not_absolute;
use super::signals::{Signal, Signals};
use crate::args::{BuildArgs, Timings};
use crate::failure::Failure;
use crate::progress::{Progress, Tracker};
use crate::render;
use banger_api::client::{Client, ClientError, EventStream};
use banger_api::{Event, Outcome};
use banger_core::error::ErrorCode;
use std::time::Instant;

pub(super) async fn run(session: &Session<'_>, args: &BuildArgs) -> Result<(), Failure> {
    let request = args.request().map_err(|error| not_absolute(&error))?;
    let client = session.client().await?;
    let mut signals = Signals::listen()?;
    let since = Instant::now();
    let mut stream = client.build_image(&request).await?;
    let built = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        tokio::select! {
            built = follow(&mut stream, &mut tracker) => Ok(built),
            signal = signals.next() => Err(signal),
        }
    };
    match built {
        Ok(built) => built?,
        Err(signal) => return cancel(session, &client, stream, &mut signals, signal).await,
    };
    let took = render::time::elapsed(render::time::milliseconds(since.elapsed()));
    let image = client.image(args.name.as_str()).await?;
    session.output.answer(&image, |image| format!("{}: built in {took}\n", image.name))
}

/// Safe to cancel: what is left of the stream can be read on.
pub(super) async fn follow(
    stream: &mut EventStream,
    tracker: &mut Tracker<'_>,
) -> Result<Outcome, ClientError> {
    while let Some(event) = stream.next().await? {
        tracker.show(&event);
        match event {
            Event::Done { outcome } => return Ok(*outcome),
            Event::Failed { error } => return Err(ClientError::Api(error)),
            _ => {}
        }
    }
    Err(ClientError::BrokenOff { op_id: stream.op_id().cloned(), source: None })
}

/// Ends the build, which a signal has asked for.
pub(super) async fn cancel(
    session: &Session<'_>,
    client: &Client,
    mut stream: EventStream,
    signals: &mut Signals,
    signal: Signal,
) -> Result<(), Failure> {
    session.output.aside("interrupted; ending the build");
    tokio::select! {
        ended = end(session, client, &mut stream) => match ended {
            // It was done before it could be ended.
            Ok(_) => session.output.note("the image was built already"),
            Err(error) => drop(session.output.report(error.into())),
        },
        signal = signals.next() => {
            session.output.note("the daemon goes on with it; `banger vm list` shows its VM");
            return Err(Failure::Exit(signal.exit_code()));
        }
    }
    Err(Failure::Exit(signal.exit_code()))
}

/// Has the daemon end the build, and awaits that.
pub(super) async fn end(
    session: &Session<'_>,
    client: &Client,
    stream: &mut EventStream,
) -> Result<Outcome, ClientError> {
    let progress = Progress::new(session.output);
    let mut tracker = progress.only(Timings::Left);
    // It is told with the first event, which may not have come yet.
    while stream.op_id().is_none() && stream.next().await?.is_some() {}
    if let Some(op) = stream.op_id().cloned() {
        match client.cancel_image_build(&op).await {
            // It has ended meanwhile; its events say how.
            Err(ClientError::Api(error)) if error.code == ErrorCode::InvalidRequest => {}
            cancelled => cancelled?,
        }
    }
    follow(stream, &mut tracker).await
}
