//! Operations: what a request or a background task does, as its asker sees it.

use crate::error::{EngineError, LeftBehind, OperationError};
use crate::measure::Measures;
use crate::view::VmView;
use banger_core::id::OpId;
use banger_core::unit::elapsed_ms;
use std::fmt;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A stretch of an operation that a user may have to wait for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Disks, network and initrd are put in place.
    HostSetup,
    /// The VMM is started until its API socket answers.
    StartVmm,
    /// The machine is configured and told to boot.
    Boot,
    /// The guest's kernel and banger-init run.
    Guest,
    /// The image's init brings up sshd.
    Ssh,
    /// The guest is asked to end and does.
    Shutdown,
    /// Host objects are removed.
    TearDown,
    /// The digest of a root file system is taken.
    Digest,
    /// A step of making or reading a bundle, or of an import, in its own words.
    Build(String),
}

impl Phase {
    /// The phases whose durations are measured.
    pub(crate) const MEASURED: [Self; 7] = [
        Self::HostSetup,
        Self::StartVmm,
        Self::Boot,
        Self::Guest,
        Self::Ssh,
        Self::Shutdown,
        Self::TearDown,
    ];

    /// The word in the metrics; none for what is not measured.
    pub(crate) const fn word(&self) -> Option<&'static str> {
        match self {
            Self::HostSetup => Some("host_setup"),
            Self::StartVmm => Some("start_vmm"),
            Self::Boot => Some("boot"),
            Self::Guest => Some("guest"),
            Self::Ssh => Some("ssh"),
            Self::Shutdown => Some("shutdown"),
            Self::TearDown => Some("tear_down"),
            Self::Digest | Self::Build(_) => None,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostSetup => "prepare the host",
            Self::StartVmm => "start the VMM",
            Self::Boot => "configure the machine",
            Self::Guest => "boot the kernel",
            Self::Ssh => "wait for ssh",
            Self::Shutdown => "shut the guest down",
            Self::TearDown => "clean up",
            Self::Digest => "read the root file system",
            Self::Build(step) => step,
        })
    }
}

/// What an operation reports while it goes on. The last one is `Done` or `Failed`.
#[derive(Debug)]
pub enum Progress {
    /// A phase began.
    Begin(Phase),
    /// The phase ended well.
    End(Phase, Duration),
    /// So much of the phase is done.
    Amount {
        /// Bytes.
        done: u64,
        /// All of them, if that is known.
        total: Option<u64>,
    },
    /// Something worth knowing that is no failure.
    Note(String),
    /// A line that a guest's program said.
    Line(String),
    /// The operation succeeded.
    Done(Box<Outcome>),
    /// The operation failed.
    Failed(Box<OperationError>),
}

/// What a successful operation came to.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The VM as it is now; `None` after a delete, and for operations on no VM.
    pub vm: Option<VmView>,
    /// Whether anything was done.
    pub changed: bool,
    /// The phases with their durations, in order.
    pub timings: Vec<(Phase, Duration)>,
    /// What was noted on the way.
    pub notes: Vec<String>,
}

/// An operation that has begun. It goes on to its end even when this is dropped.
#[derive(Debug)]
pub struct Operation {
    /// Its id: in every log line and error of it.
    pub id: OpId,
    /// What it reports.
    pub progress: mpsc::UnboundedReceiver<Progress>,
}

impl Operation {
    /// Waits for the end, without the reports on the way.
    pub async fn finish(mut self) -> Result<Outcome, Box<OperationError>> {
        while let Some(progress) = self.progress.recv().await {
            match progress {
                Progress::Done(outcome) => return Ok(*outcome),
                Progress::Failed(error) => return Err(error),
                Progress::Begin(_)
                | Progress::End(..)
                | Progress::Amount { .. }
                | Progress::Note(_)
                | Progress::Line(_) => {}
            }
        }
        Err(Box::new(OperationError::broken_off(self.id)))
    }
}

/// The reporting end of an operation.
#[derive(Debug)]
pub(crate) struct Reporter {
    pub(crate) id: OpId,
    measures: Measures,
    sender: mpsc::UnboundedSender<Progress>,
    timings: Vec<(Phase, Duration)>,
    notes: Vec<String>,
    left: Vec<LeftBehind>,
    /// The phase that is under way.
    stage: Option<Phase>,
}

impl Reporter {
    /// Both ends of a new operation.
    pub(crate) fn new(id: OpId, measures: Measures) -> (Self, Operation) {
        let (sender, progress) = mpsc::unbounded_channel();
        let (timings, notes, left) = (Vec::new(), Vec::new(), Vec::new());
        let reporter = Self { id: id.clone(), measures, sender, timings, notes, left, stage: None };
        (reporter, Operation { id, progress })
    }

    /// Nobody has to be listening: an operation goes on without its asker.
    fn send(&self, progress: Progress) {
        if self.sender.send(progress).is_err() {
            tracing::trace!(op_id = %self.id, "nobody listens");
        }
    }

    /// Begins a phase.
    pub(crate) fn begin(&mut self, phase: Phase) -> Running {
        tracing::debug!(op_id = %self.id, stage = %phase, "stage begins");
        self.stage = Some(phase.clone());
        self.send(Progress::Begin(phase.clone()));
        Running { phase, since: Instant::now() }
    }

    /// Ends a phase that went well.
    pub(crate) fn end(&mut self, running: Running) {
        let elapsed = running.since.elapsed();
        let elapsed_ms = elapsed_ms(elapsed);
        tracing::debug!(op_id = %self.id, stage = %running.phase, elapsed_ms, "stage is done");
        self.stage = None;
        // How long a guest takes is seen by who watches it, whether or not somebody waits for it.
        if !matches!(running.phase, Phase::Guest | Phase::Ssh) {
            self.measures.phase(&running.phase, elapsed);
        }
        self.timings.push((running.phase.clone(), elapsed));
        self.send(Progress::End(running.phase, elapsed));
    }

    /// Tells how much of the phase is done.
    pub(crate) fn amount(&self, done: u64, total: Option<u64>) {
        self.send(Progress::Amount { done, total });
    }

    /// Notes something.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note.clone());
        self.send(Progress::Note(note));
    }

    /// A reporter for a part of the operation that another task does.
    pub(crate) fn fork(&self) -> Self {
        let (timings, notes, left) = (Vec::new(), Vec::new(), Vec::new());
        let (id, sender, measures) = (self.id.clone(), self.sender.clone(), self.measures.clone());
        Self { id, measures, sender, timings, notes, left, stage: None }
    }

    /// Takes what such a part has come to.
    pub(crate) fn absorb(&mut self, part: Self) {
        self.timings.extend(part.timings);
        self.notes.extend(part.notes);
        self.left.extend(part.left);
        self.stage = part.stage;
    }

    /// What passes on the lines of a guest's programs.
    pub(crate) fn lines(&self) -> LineSender {
        LineSender(self.sender.clone())
    }

    /// The phase that is under way, in words: where an operation ends early, the one that failed.
    pub(crate) fn stage(&self) -> Option<String> {
        self.stage.as_ref().map(Phase::to_string)
    }

    /// Remembers what could not be removed, for the error that the operation ends with.
    pub(crate) fn leave_behind(&mut self, left: Vec<LeftBehind>) {
        self.left.extend(left);
    }

    /// Completes when nobody listens any more.
    pub(crate) fn left(&self) -> impl Future<Output = ()> + Send + 'static {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }

    /// Whether nobody listens any more.
    pub(crate) fn is_left(&self) -> bool {
        self.sender.is_closed()
    }

    /// What could not be removed so far.
    pub(crate) fn into_left(self) -> Vec<LeftBehind> {
        self.left
    }

    /// Ends the operation well.
    pub(crate) fn finish(self, Finished { vm, changed }: Finished) {
        let (timings, notes) = (self.timings.clone(), self.notes.clone());
        self.send(Progress::Done(Box::new(Outcome { vm, changed, timings, notes })));
    }

    /// Ends the operation badly.
    pub(crate) fn fail(self, error: EngineError) {
        self.closer().end(OperationError { op_id: self.id, error, left: self.left });
    }

    /// What can end the operation when this reporter is gone.
    pub(crate) fn closer(&self) -> Closer {
        Closer { id: self.id.clone(), sender: self.sender.clone() }
    }
}

/// Passes on lines. Nobody has to be listening.
#[derive(Debug)]
pub(crate) struct LineSender(mpsc::UnboundedSender<Progress>);

impl LineSender {
    pub(crate) fn send(&self, line: &str) {
        if let Err(unheard) = self.0.send(Progress::Line(line.to_owned())) {
            tracing::trace!(?unheard, "nobody listens");
        }
    }
}

/// Ends an operation whose reporter went away with the task that had it.
#[derive(Debug)]
pub(crate) struct Closer {
    id: OpId,
    sender: mpsc::UnboundedSender<Progress>,
}

impl Closer {
    /// Ends the operation badly. Nobody has to be listening.
    pub(crate) fn fail(self, error: EngineError) {
        let failed = OperationError { op_id: self.id.clone(), error, left: Vec::new() };
        self.end(failed);
    }

    fn end(self, failed: OperationError) {
        if let Err(unheard) = self.sender.send(Progress::Failed(Box::new(failed))) {
            tracing::trace!(?unheard, "nobody listens");
        }
    }
}

/// A phase that has begun.
#[derive(Debug)]
pub(crate) struct Running {
    phase: Phase,
    since: Instant,
}

/// The part of an outcome that the operation itself knows.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) vm: Option<VmView>,
    pub(crate) changed: bool,
}
