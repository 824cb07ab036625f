//! Turning answers into text. Everything here is pure: what it needs, the time included, is given.

pub(crate) mod bundle;
pub(crate) mod doctor;
pub(crate) mod error;
pub(crate) mod image;
pub(crate) mod log;
pub(crate) mod ports;
pub(crate) mod stats;
pub(crate) mod support;
pub(crate) mod table;
pub(crate) mod time;
pub(crate) mod vm;
pub(crate) mod why;
