//! `banger image`.

use super::several::{ask, tell_all, tell_each};
use super::{Session, signals};
use crate::args::{ImportArgs, PromoteArgs, RegisterArgs, RenameArgs, Timings};
use crate::failure::Failure;
use crate::output::Format;
use crate::progress::Progress;
use crate::render;
use banger_api::{ErrorBody, RenameImage};
use banger_core::error::ErrorCode;
use jiff::Timestamp;

pub(super) async fn list(session: &Session<'_>) -> Result<(), Failure> {
    let list = session.client().await?.images().await?;
    if list.images.is_empty() && session.output.format() == Format::Text {
        session.output.note("there is no image; `banger bundle build` makes the default one");
        return Ok(());
    }
    session.output.answer(&list, |list| render::image::list(&list.images, Timestamp::now()))?;
    if session.output.format() == Format::Text {
        for image in &list.images {
            if let Some(problem) = &image.problem {
                session.output.error(Some(image.name.as_str()), problem);
            }
        }
    }
    Ok(())
}

pub(super) async fn show(session: &Session<'_>, refs: &[String]) -> Result<(), Failure> {
    let client = session.client().await?;
    let reports = ask(refs, async |reference| client.image(&reference).await).await;
    tell_all(session.output, "image", &reports, |images| {
        images.map(render::image::show).collect::<Vec<_>>().join("\n")
    })
}

/// Imports, and answers with the image as it is then. Whoever ends this client ends the import.
pub(super) async fn import(session: &Session<'_>, args: &ImportArgs) -> Result<(), Failure> {
    let request = args.request().map_err(|error| not_absolute(&error))?;
    let client = session.client().await?;
    let image = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        signals::unless_broken_off(session, async {
            let stream = client.import_image(&request).await?;
            stream.finish(|event| tracker.show(event)).await?;
            Ok(client.image(args.name.as_str()).await?)
        })
        .await?
    };
    session.output.answer(&image, |image| format!("{}: imported\n", image.name))
}

/// A relative path, where no directory is the present one.
pub(super) fn not_absolute(error: &std::io::Error) -> Failure {
    let message = "a path cannot be made absolute";
    let mut body = ErrorBody::plain(ErrorCode::InvalidRequest, message);
    body.causes.push(error.to_string());
    Failure::Error(Box::new(body))
}

/// Registers, and answers with the image as it is then.
pub(super) async fn register(session: &Session<'_>, args: &RegisterArgs) -> Result<(), Failure> {
    let request = args.request().map_err(|error| not_absolute(&error))?;
    let client = session.client().await?;
    let image = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        signals::unless_left(session, async {
            let stream = client.register_image(&request).await?;
            stream.finish(|event| tracker.show(event)).await?;
            Ok(client.image(args.name.as_str()).await?)
        })
        .await?
    };
    session.output.answer(&image, |image| format!("{}: registered\n", image.name))
}

/// Promotes, and answers with the image as it is then.
pub(super) async fn promote(session: &Session<'_>, args: &PromoteArgs) -> Result<(), Failure> {
    let client = session.client().await?;
    let (image, changed) = {
        let progress = Progress::new(session.output);
        let mut tracker = progress.only(Timings::Left);
        signals::unless_left(session, async {
            let stream = client.promote_image(&args.image).await?;
            let outcome = stream.finish(|event| tracker.show(event)).await?;
            Ok((client.image(&args.image).await?, outcome.changed))
        })
        .await?
    };
    let done = if changed { "now managed" } else { "managed already" };
    session.output.answer(&image, |image| format!("{}: {done}\n", image.name))
}

pub(super) async fn rename(session: &Session<'_>, args: &RenameArgs) -> Result<(), Failure> {
    let request = RenameImage { name: args.name.clone() };
    let image = session.client().await?.rename_image(&args.image, &request).await?;
    session.output.answer(&image, |image| format!("{}: now `{}`\n", args.image, image.name))
}

pub(super) async fn delete(session: &Session<'_>, refs: &[String]) -> Result<(), Failure> {
    let client = session.client().await?;
    let reports =
        ask(refs, async |reference| client.delete_image(&reference).await?.finish(|_| {}).await);
    let reports = reports.await;
    tell_each(session.output, "outcome", &reports, |reference, _| format!("{reference}: deleted\n"))
}
