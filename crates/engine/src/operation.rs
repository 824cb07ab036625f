//! Operations: what a request or a background task does, as its asker sees it.

use crate::error::{EngineError, LeftBehind, OperationError};
use crate::measure::Measures;
use crate::view::VmView;
use banger_core::id::OpId;
use banger_core::unit::elapsed_ms;
use banger_core::vm_name::VmName;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// How much room there is for lines that are not yet read, in bytes. An asker may be suspended, and
/// a guest's program print without end.
const ROOM: usize = 512 << 10;
/// What a line takes beyond its text, at most.
const LINE_COST: usize = 256;
/// What is told in place of lines.
pub(crate) const MORE: &str = "[banger: more is in the log]";

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
    /// A line that a guest's program said. Some are left out where they are not read.
    Line(Line),
    /// A VM is there for its user to work in, until they say to save what they have done.
    Enterable(VmName),
    /// The guest of that VM has shut down. What was done in it can be saved all the same.
    GuestEnded(VmName),
    /// The operation succeeded.
    Done(Box<Outcome>),
    /// The operation failed.
    Failed(Box<OperationError>),
}

/// A line, with the room that it takes until it is read.
#[derive(Debug)]
pub struct Line {
    text: String,
    _room: Option<OwnedSemaphorePermit>,
}

impl Line {
    /// The text, without a line feed.
    pub fn into_text(self) -> String {
        self.text
    }
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

/// An operation that has begun. It goes on to its end even when this is dropped; only an import, and a
/// build whose user still works in it by hand, are of no use to anybody then, and are broken off.
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
                | Progress::Line(_)
                | Progress::Enterable(_)
                | Progress::GuestEnded(_) => {}
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
    /// For lines; a permit is a byte.
    room: Arc<Semaphore>,
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
        let operation = Operation { id: id.clone(), progress };
        let (room, stage) = (Arc::new(Semaphore::new(ROOM)), None);
        let (timings, notes, left) = (Vec::new(), Vec::new(), Vec::new());
        (Self { id, measures, sender, room, timings, notes, left, stage }, operation)
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
        let room = Arc::clone(&self.room);
        Self { id, measures, sender, room, timings, notes, left, stage: None }
    }

    /// Takes what such a part has come to.
    pub(crate) fn absorb(&mut self, part: Self) {
        self.timings.extend(part.timings);
        self.notes.extend(part.notes);
        self.left.extend(part.left);
        self.stage = part.stage;
    }

    /// Tells which VM waits for its user.
    pub(crate) fn enterable(&self, vm: VmName) {
        self.send(Progress::Enterable(vm));
    }

    /// Tells that its guest has shut down.
    pub(crate) fn guest_ended(&self, vm: VmName) {
        self.send(Progress::GuestEnded(vm));
    }

    /// What passes on the lines of a guest's programs.
    pub(crate) fn lines(&self) -> LineSender {
        let (sender, room) = (self.sender.clone(), Arc::clone(&self.room));
        LineSender { sender, room, is_full: false }
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

/// Passes on lines. Nobody has to be listening, and who listens may be slow: lines that there is no
/// room for are left out.
#[derive(Debug)]
pub(crate) struct LineSender {
    sender: mpsc::UnboundedSender<Progress>,
    room: Arc<Semaphore>,
    /// The last line was left out.
    is_full: bool,
}

impl LineSender {
    pub(crate) fn send(&mut self, line: &str) {
        // Not for each line that just fits again.
        if self.is_full && self.room.available_permits() < ROOM / 2 {
            return;
        }
        let cost = (line.len() + LINE_COST).min(ROOM);
        let cost = u32::try_from(cost).expect("the room has less than 4 GiB");
        match Arc::clone(&self.room).try_acquire_many_owned(cost) {
            Ok(room) => self.pass_on(line, Some(room)),
            // Once until somebody reads, so that there are not many of these either.
            Err(_) if !self.is_full => self.pass_on(MORE, None),
            Err(_) => {}
        }
    }

    fn pass_on(&mut self, line: &str, room: Option<OwnedSemaphorePermit>) {
        self.is_full = room.is_none();
        let line = Line { text: line.to_owned(), _room: room };
        if let Err(unheard) = self.sender.send(Progress::Line(line)) {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What has been told: the lines, and how much else.
    fn read(operation: &mut Operation) -> (Vec<String>, usize) {
        let (mut lines, mut others) = (Vec::new(), 0);
        while let Ok(progress) = operation.progress.try_recv() {
            match progress {
                Progress::Line(line) => lines.push(line.into_text()),
                _ => others += 1,
            }
        }
        (lines, others)
    }

    #[test]
    fn who_does_not_read_misses_lines_and_nothing_else() {
        let (mut report, mut operation) = Reporter::new(OpId::from_entropy(1), Measures::default());
        let (mut lines, mut of_a_part) = (report.lines(), report.fork().lines());
        for round in 0..3 {
            let phase = report.begin(Phase::Boot);
            for _ in 0..10_000 {
                lines.send(&"y".repeat(1000));
                lines.send("");
            }
            report.end(phase);
            report.note(format!("round {round}"));
        }
        of_a_part.send(&"z".repeat(2000));
        let (told, others) = read(&mut operation);
        assert_eq!(others, 9);
        let bytes: usize = told.iter().map(|line| line.len() + LINE_COST).sum();
        assert!(bytes > ROOM / 2 && bytes < ROOM + 4 * LINE_COST, "{bytes}");
        assert_eq!(told.iter().filter(|line| *line == MORE).count(), 2, "one from each sender");

        for line in ["one", "two"] {
            lines.send(line);
        }
        of_a_part.send("three");
        assert_eq!(read(&mut operation), (["one", "two", "three"].map(str::to_owned).into(), 0));
    }

    #[test]
    fn a_line_that_is_larger_than_the_room_is_passed_on() {
        let (report, mut operation) = Reporter::new(OpId::from_entropy(1), Measures::default());
        let long = "y".repeat(2 * ROOM);
        report.lines().send(&long);
        assert_eq!(read(&mut operation).0, [long]);
    }
}
