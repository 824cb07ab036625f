//! Programs in guests that answer, written with what the smallest Debian has.

use super::program::Call;
use super::site::{QUICK, Site};

/// Answers each request at port 8000 with one line.
const WEB: &str = r#"setsid -f perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5); while ($c = $s->accept) { while (<$c>) { last if /^\r?$/ } print $c "HTTP/1.0 200 OK\r\n\r\nhello from otter\n"; close $c }' < /dev/null > /dev/null 2>&1"#;
/// What asks it, by name, in a program that knows nothing of banger. The server may have to begin.
const PAGE: [&str; 7] =
    ["-sS", "--retry", "9", "--retry-all-errors", "-m", "60", "http://otter.vm:8000/"];
/// Answers each datagram at port 5300 with what is in it and a word before.
const DATAGRAMS: &str = r#"setsid -f perl -MIO::Socket::INET -e '$s = IO::Socket::INET->new(Proto => "udp", LocalPort => 5300); while ($s->recv($text, 2048)) { $s->send("otter: $text") }' < /dev/null > /dev/null 2>&1"#;

/// A web server in `otter` is reached by name from the host, and from another guest.
#[track_caller]
pub(crate) fn assert_web_reached_by_name(site: &Site, other: &str) {
    site.ssh("otter", WEB);
    let from_host = Call::new("curl", &PAGE).start().within(QUICK);
    assert_eq!(from_host.ok(), "hello from otter\n", "from the host");
    let from_other = site.ssh(other, &format!("curl {}", PAGE.join(" ")));
    assert_eq!(from_other, "hello from otter\n", "from {other}");
}

/// Has `otter` answer datagrams at port 5300, as soon as the program has begun.
#[track_caller]
pub(crate) fn answer_datagrams(site: &Site) {
    site.ssh("otter", DATAGRAMS);
}
