//! `banger image customize`: the build of an image in which its user works by hand.
//!
//! ```text
//!   build ─► enterable ─► ssh on this terminal ─► save or discard? ─┬─► save ─► the image
//!                                                                   └─► cancel ─► its log is left
//! ```
//!
//! The build's events are read all the while: the guest may shut down, and the build may end, while
//! its user is in the session or is asked. Whoever leaves before they have said to save leaves nothing:
//! this process then ends the build, and where it cannot, the daemon does.

mod question;

use super::image_build::{cancel, end, follow};
use super::run::{End, guest};
use super::signals::{Signal, Signals};
use super::{Session, ssh};
use crate::args::{CustomizeArgs, Timings};
use crate::failure::Failure;
use crate::launch;
use crate::output::Format;
use crate::progress::{Progress, Tracker};
use banger_api::client::{Client, ClientError, EventStream};
use banger_api::{ErrorBody, Event};
use banger_core::error::ErrorCode;
use banger_core::vm_name::{ImageName, VmName};
use question::{Choice, ask};
use serde::Serialize;
use std::ffi::OsString;
use std::io::{IsTerminal, stderr, stdin};
use std::process::Stdio;
use std::time::Duration;

/// A session whose guest is gone, and perhaps this process too, ends within two minutes.
const KEEPALIVE: [&str; 4] = ["-o", "ServerAliveInterval=20", "-o", "ServerAliveCountMax=6"];
/// What ssh ends with when the session breaks off. A program in the guest may end with it too.
const BROKEN_OFF: u8 = 255;
/// How long a guest that goes down may take from the end of its sessions to its own: a minute
/// is what `banger vm stop` gives it.
const GOING_DOWN: Duration = Duration::from_secs(75);

pub(super) async fn run(session: &Session<'_>, args: &CustomizeArgs) -> Result<(), Failure> {
    check(args)?;
    let client = session.client().await?;
    let mut signals = Signals::listen()?;
    let mut stream = client.build_image(&args.request()).await?;
    let customizing = Customizing { session, client: &client, args };
    let concluded = match customizing.choose(&mut stream, &mut signals).await {
        Ok(choice) => customizing.conclude(choice, &mut stream, &mut signals).await,
        Err(stop) => Err(stop),
    };
    match concluded {
        Ok(concluded) => concluded,
        Err(Stop::Signal(signal)) => cancel(session, &client, stream, &mut signals, signal).await,
        Err(Stop::Left(signal)) => {
            session.output.note("the daemon goes on with it; `banger image list` shows its image");
            Err(Failure::Exit(signal.exit_code()))
        }
        Err(Stop::Over(error)) => Err(error.into()),
        Err(Stop::Failed(failure)) => {
            // Why nothing is saved says more than that the build is cancelled.
            tokio::select! {
                ended = end(session, &client, &mut stream) => drop(ended),
                _ = signals.next() => {}
            }
            Err(failure)
        }
    }
}

/// Refuses before anything is booted what could not be ended well.
fn check(args: &CustomizeArgs) -> Result<(), Failure> {
    launch::check_ssh()?;
    if args.save || args.discard || stdin().is_terminal() {
        return Ok(());
    }
    let message = format!(
        "nobody can be asked whether to save `{}`: standard input is not a terminal",
        args.name
    );
    let body = ErrorBody::plain(ErrorCode::InvalidRequest, message);
    Err(body.hint("say it beforehand, with `--save` or `--discard`").into())
}

/// Why it comes to no choice, or not to its end.
enum Stop {
    /// This process was told to end, and the build with it.
    Signal(Signal),
    /// This process was told to end, and the build goes on to its image.
    Left(Signal),
    /// The build is over.
    Over(ClientError),
    /// The build goes on in vain.
    Failed(Failure),
}

/// How a session ended.
enum Left {
    /// By itself, with this exit code.
    Code(u8),
    /// With its guest, which was shut down.
    GuestEnded,
}

/// What becomes known of the guest or the build meanwhile.
enum Meanwhile {
    GuestEnded,
    Over(ClientError),
}

/// An image that was not saved, as a document.
#[derive(Serialize)]
struct Discarded<'a> {
    discarded: &'a ImageName,
}

/// One run of the command.
struct Customizing<'a> {
    session: &'a Session<'a>,
    client: &'a Client,
    args: &'a CustomizeArgs,
}

impl Customizing<'_> {
    /// Everything up to the user's word, or to what they have said beforehand.
    async fn choose(
        &self,
        stream: &mut EventStream,
        signals: &mut Signals,
    ) -> Result<Choice, Stop> {
        let vm = {
            let progress = Progress::new(self.session.output);
            let mut tracker = progress.only(Timings::Left);
            tokio::select! {
                vm = enterable(stream, &mut tracker) => vm.map_err(Stop::Over)?,
                signal = signals.next() => return Err(Stop::Signal(signal)),
            }
        };
        let left = self.enter(&vm, stream, signals).await?;
        let left = self.explain(left, stream, signals).await?;
        match left {
            _ if self.args.discard => return Ok(Choice::Discard),
            Left::GuestEnded | Left::Code(0) if self.args.save => return Ok(Choice::Save),
            Left::Code(code) if !stdin().is_terminal() => {
                return Err(Stop::Failed(self.not_saved(code)));
            }
            Left::GuestEnded | Left::Code(_) => {}
        }
        self.tell(&left, &vm);
        tokio::select! {
            choice = ask(self.session.output, &self.args.name) => choice.map_err(Stop::Failed),
            signal = signals.next() => {
                // On a terminal `^C` was shown, on a line that has no end yet.
                self.session.output.aside("");
                Err(Stop::Signal(signal))
            }
            error = over(stream) => Err(Stop::Over(error)),
        }
    }

    /// A session on this terminal, which ends with the guest and with the build.
    async fn enter(
        &self,
        vm: &VmName,
        stream: &mut EventStream,
        signals: &mut Signals,
    ) -> Result<Left, Stop> {
        let failed = |failure: Failure| Stop::Failed(failure);
        let target = tokio::select! {
            target = self.client.ssh(vm.as_str()) => target.map_err(|error| failed(error.into()))?,
            signal = signals.next() => return Err(Stop::Signal(signal)),
        };
        ssh::check_runs(&target).map_err(|error| failed(error.into()))?;
        if stdin().is_terminal() {
            let name = &self.args.name;
            let what = format!("what is done in this session is done to `{name}`; `exit` ends it");
            self.session.output.aside(&what);
        }
        // A document is alone on standard output.
        let output = match self.session.output.format() {
            Format::Text => Stdio::inherit(),
            Format::Json => Stdio::from(stderr()),
        };
        let mut arguments = KEEPALIVE.map(OsString::from).to_vec();
        arguments.extend(ssh::arguments(&target, &[]));
        let child = launch::start_ssh(&arguments, output);
        let child = child.map_err(|error| failed(error.into()))?;
        match guest::attend(child, signals, meanwhile(stream)).await {
            Ok(End::Code(code)) => Ok(Left::Code(code)),
            Ok(End::Failed(failure)) => Err(Stop::Failed(failure)),
            Ok(End::Signal(signal)) => Err(Stop::Signal(signal)),
            Err((Meanwhile::Over(error), _)) => Err(Stop::Over(error)),
            Err((Meanwhile::GuestEnded, Some(signal))) => Err(Stop::Signal(signal)),
            Err((Meanwhile::GuestEnded, None)) => Ok(Left::GuestEnded),
        }
    }

    /// A guest that goes down takes the session along before it has ended itself. Where nobody is
    /// asked, the build gets the time to say so.
    async fn explain(
        &self,
        left: Left,
        stream: &mut EventStream,
        signals: &mut Signals,
    ) -> Result<Left, Stop> {
        let has_broken_off = matches!(left, Left::Code(BROKEN_OFF));
        if !has_broken_off || self.args.discard || stdin().is_terminal() {
            return Ok(left);
        }
        tokio::select! {
            said = tokio::time::timeout(GOING_DOWN, meanwhile(stream)) => match said {
                Ok(Meanwhile::GuestEnded) => Ok(Left::GuestEnded),
                Ok(Meanwhile::Over(error)) => Err(Stop::Over(error)),
                Err(_) => Ok(left),
            },
            signal = signals.next() => Err(Stop::Signal(signal)),
        }
    }

    /// Says what somebody who is asked should know.
    fn tell(&self, left: &Left, vm: &VmName) {
        let note = match left {
            Left::Code(0) => return,
            Left::Code(BROKEN_OFF) => format!(
                "the session has broken off; while the guest runs, `banger vm ssh {vm}` enters it \
                 from another terminal"
            ),
            Left::Code(code) => format!("the session ended with exit code {code}"),
            Left::GuestEnded => {
                "the guest has shut down; to be saved it is booted once more".to_owned()
            }
        };
        self.session.output.note(&note);
    }

    /// Why `--save` is not followed.
    fn not_saved(&self, code: u8) -> Failure {
        let how = match code {
            BROKEN_OFF => "has broken off".to_owned(),
            code => format!("ended with exit code {code}"),
        };
        let message = format!("`{}` is not saved: the session {how}", self.args.name);
        let body = ErrorBody::plain(ErrorCode::GuestFailed, message);
        body.hint("a session that is to be saved all the same has to end with `exit 0`").into()
    }

    /// Does as the user says.
    async fn conclude(
        &self,
        choice: Choice,
        stream: &mut EventStream,
        signals: &mut Signals,
    ) -> Result<Result<(), Failure>, Stop> {
        if choice == Choice::Discard {
            return tokio::select! {
                discarded = self.discard(stream) => Ok(discarded),
                signal = signals.next() => Err(Stop::Signal(signal)),
            };
        }
        // Whoever closes the terminal after that word means it to be kept.
        tokio::select! {
            begun = self.begin_to_save(stream) => begun.map_err(Stop::Over)?,
            signal = signals.next_but_hangup() => return Err(Stop::Signal(signal)),
        }
        tokio::select! {
            saved = self.save(stream) => Ok(saved),
            signal = signals.next() => Err(match signal.is_hangup() {
                true => Stop::Left(signal),
                false => Stop::Signal(signal),
            }),
        }
    }

    /// From then on the build goes on without this process.
    async fn begin_to_save(&self, stream: &EventStream) -> Result<(), ClientError> {
        let Some(op) = stream.op_id() else { return Ok(()) };
        match self.client.save_image_build(op).await {
            // It has ended meanwhile; its events say how.
            Err(ClientError::Api(error)) if error.code == ErrorCode::InvalidRequest => Ok(()),
            begun => begun,
        }
    }

    async fn save(&self, stream: &mut EventStream) -> Result<(), Failure> {
        {
            let progress = Progress::new(self.session.output);
            follow(stream, &mut progress.only(Timings::Left)).await?;
        }
        let image = self.client.image(self.args.name.as_str()).await?;
        self.session.output.answer(&image, |image| format!("{}: saved\n", image.name))
    }

    async fn discard(&self, stream: &mut EventStream) -> Result<(), Failure> {
        match end(self.session, self.client, stream).await {
            Err(ClientError::Api(error)) if error.code == ErrorCode::Interrupted => {}
            Err(error) => return Err(error.into()),
            Ok(_) => return Err(Failure::internal("the image was built although nobody saved it")),
        }
        let discarded = Discarded { discarded: &self.args.name };
        self.session.output.answer(&discarded, |it| format!("{}: discarded\n", it.discarded))
    }
}

/// Follows the build up to the VM that can be entered. Safe to cancel.
async fn enterable(
    stream: &mut EventStream,
    tracker: &mut Tracker<'_>,
) -> Result<VmName, ClientError> {
    while let Some(event) = stream.next().await? {
        tracker.show(&event);
        match event {
            Event::Enterable { vm } => return Ok(vm),
            Event::Failed { error } => return Err(ClientError::Api(error)),
            _ => {}
        }
    }
    Err(ClientError::BrokenOff { op_id: stream.op_id().cloned(), source: None })
}

/// Completes when the guest has shut down, or the build is over. Safe to cancel.
async fn meanwhile(stream: &mut EventStream) -> Meanwhile {
    loop {
        match stream.next().await {
            Ok(Some(Event::GuestEnded { .. })) => return Meanwhile::GuestEnded,
            Ok(Some(Event::Failed { error })) => return Meanwhile::Over(ClientError::Api(error)),
            Ok(Some(_)) => {}
            Ok(None) => {
                let op_id = stream.op_id().cloned();
                return Meanwhile::Over(ClientError::BrokenOff { op_id, source: None });
            }
            Err(error) => return Meanwhile::Over(error),
        }
    }
}

/// Completes when the build is over. Safe to cancel.
async fn over(stream: &mut EventStream) -> ClientError {
    loop {
        if let Meanwhile::Over(error) = meanwhile(stream).await {
            return error;
        }
    }
}
