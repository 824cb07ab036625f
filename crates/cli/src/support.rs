//! What a support bundle is made of. It reads, and asks the daemon, and changes nothing.
//!
//! Everything that goes in is text that was made safe first ([`redact`]), and no longer than two
//! ends ([`excerpt`]). Keys, disks and records are never opened: of the state directory only files
//! named as logs are.

mod excerpt;
mod logs;
mod pack;
mod redact;

pub(crate) use logs::logs;
pub(crate) use pack::write;
pub(crate) use redact::without_comments;

use excerpt::Excerpt;
use serde::Serialize;

/// How much text goes in, all in all. Documents come first, so that logs are what is left out.
const ROOM: usize = 32 << 20;

/// A bundle before it is written.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Bundle {
    /// What is in it.
    pub(crate) files: Vec<Entry>,
    /// What is not, and why.
    pub(crate) left_out: Vec<LeftOut>,
}

/// A file of the bundle.
#[derive(Debug, Serialize)]
pub(crate) struct Entry {
    /// Its path in the bundle.
    pub(crate) name: String,
    /// Its size in bytes.
    pub(crate) bytes: usize,
    /// The size of what it was taken from, where that is only in part here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) of: Option<u64>,
    /// How many keys, tokens and passwords were taken out of it.
    pub(crate) removed: usize,
    #[serde(skip)]
    text: String,
}

/// Something that would belong into the bundle.
#[derive(Debug, Serialize)]
pub(crate) struct LeftOut {
    /// What.
    pub(crate) name: String,
    /// Why it is not there.
    pub(crate) reason: String,
}

impl Bundle {
    /// Adds a document.
    pub(crate) fn document(&mut self, name: &str, document: &impl Serialize) {
        let text = serde_json::to_string_pretty(document).expect("an answer is plain data");
        self.text(name, &text, None);
    }

    /// Adds a text, without what nobody else may know; `of` is the size of what it is a part of.
    pub(crate) fn text(&mut self, name: &str, text: &str, of: Option<u64>) {
        let (text, removed) = redact::redact(text);
        let taken: usize = self.files.iter().map(|file| file.bytes).sum();
        if taken + text.len() > ROOM {
            return self.lack(name, "the bundle is large enough without it");
        }
        self.files.push(Entry { name: name.to_owned(), bytes: text.len(), of, removed, text });
    }

    fn excerpt(&mut self, name: &str, excerpt: Excerpt) {
        let Excerpt { text, of } = excerpt;
        self.text(name, &text, of);
    }

    /// Says that something is not there.
    pub(crate) fn lack(&mut self, name: &str, reason: impl Into<String>) {
        self.left_out.push(LeftOut { name: name.to_owned(), reason: reason.into() });
    }
}
