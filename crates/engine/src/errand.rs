//! What an operation is for, as logs and metrics name it.

use std::fmt;

/// What a user can ask for that takes its time. A new one has its series in the metrics from the
/// start, since they are made of [`Errand::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    BundleBuild,
    BundleFetch,
    BundleVerify,
    Create,
    Delete,
    Forward,
    ImageBuild,
    ImageDelete,
    ImageImport,
    ImagePromote,
    ImageRegister,
    Kill,
    Restart,
    Set,
    Start,
    Stop,
}

impl Errand {
    /// Every one.
    pub(crate) const ALL: [Self; 16] = [
        Self::BundleBuild,
        Self::BundleFetch,
        Self::BundleVerify,
        Self::Create,
        Self::Delete,
        Self::Forward,
        Self::ImageBuild,
        Self::ImageDelete,
        Self::ImageImport,
        Self::ImagePromote,
        Self::ImageRegister,
        Self::Kill,
        Self::Restart,
        Self::Set,
        Self::Start,
        Self::Stop,
    ];

    /// Its words.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::BundleBuild => "bundle build",
            Self::BundleFetch => "bundle fetch",
            Self::BundleVerify => "bundle verify",
            Self::Create => "create",
            Self::Delete => "delete",
            Self::Forward => "forward",
            Self::ImageBuild => "image build",
            Self::ImageDelete => "image delete",
            Self::ImageImport => "image import",
            Self::ImagePromote => "image promote",
            Self::ImageRegister => "image register",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Set => "set",
            Self::Start => "start",
            Self::Stop => "stop",
        }
    }
}

impl fmt::Display for Errand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
