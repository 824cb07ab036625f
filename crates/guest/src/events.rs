//! Waiting for devices: the kernel's announcements, with a deadline.

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_KOBJECT_UEVENT};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::time::{Duration, Instant};

/// How long a device may take to appear. On a loaded machine under emulation a probe takes seconds.
pub(crate) const DEVICE_DEADLINE: Duration = Duration::from_secs(30);

/// The kernel's own multicast group; udev repeats what it handled in group 2.
const KERNEL_GROUP: u32 = 1;
/// The longest wait for one announcement: the kernel drops them when its buffer is full.
const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// The kernel's announcements cannot be heard.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for the kernel's device events")]
pub(crate) struct EventsError {
    #[source]
    source: io::Error,
}

/// A subscription to the kernel's device events.
pub(crate) struct DeviceEvents {
    socket: Socket,
}

impl DeviceEvents {
    /// Subscribes.
    pub(crate) fn listen() -> Result<Self, EventsError> {
        let listen = || {
            let mut socket = Socket::new(NETLINK_KOBJECT_UEVENT)?;
            socket.bind(&SocketAddr::new(0, KERNEL_GROUP))?;
            socket.set_non_blocking(true)?;
            Ok(Self { socket })
        };
        listen().map_err(|source| EventsError { source })
    }

    /// Looks for something until it is there, after each event; `None` when `patience` runs out.
    pub(crate) fn wait_for<T>(
        &self,
        patience: Duration,
        mut look: impl FnMut() -> Option<T>,
    ) -> Option<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(found) = look() {
                return Some(found);
            }
            if Instant::now() >= deadline {
                return None;
            }
            let mut watched = [PollFd::new(&self.socket, PollFlags::IN)];
            let _interrupted = poll(&mut watched, Some(&STEP));
            self.drain();
        }
    }

    fn drain(&self) {
        // Events are far shorter than a page; what they say is looked up, not read.
        let mut event = Vec::with_capacity(4096);
        while self.socket.recv(&mut event, 0).is_ok() {
            event.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_its_patience_does() {
        let events = DeviceEvents::listen().unwrap();
        let begin = Instant::now();
        assert_eq!(events.wait_for(Duration::from_millis(50), || None::<()>), None);
        assert!(begin.elapsed() < Duration::from_secs(10));
    }

    #[test]
    fn what_is_there_is_found_at_once() {
        let events = DeviceEvents::listen().unwrap();
        assert_eq!(events.wait_for(Duration::ZERO, || Some(7)), Some(7));
    }
}
