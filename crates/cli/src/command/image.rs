//! `banger image`.

use super::Session;
use crate::failure::Failure;
use crate::render::table::table;

pub(super) async fn list(session: &Session<'_>) -> Result<(), Failure> {
    let list = session.client().await?.images().await?;
    session.output.answer(&list, |list| {
        let rows: Vec<_> = list
            .images
            .iter()
            .map(|image| {
                let path = |path: &std::path::Path| path.display().to_string();
                [image.name.to_string(), path(&image.rootfs), path(&image.kernel)]
            })
            .collect();
        table(["NAME", "ROOT FILE SYSTEM", "KERNEL"], &rows)
    })
}
