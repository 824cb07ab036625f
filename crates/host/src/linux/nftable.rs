//! Asking the kernel about an nft table without starting a program.
//!
//! A table's comment is in its user data, which one nfnetlink question returns. banger puts a
//! fingerprint of the rules there, so that an `ensure` of what is there already costs no more than
//! that question.

use super::netlink::split_message;
use netlink_sys::{Socket, SocketAddr};
use std::io;

// linux/netfilter/nfnetlink.h and nf_tables.h.
const NETLINK_NETFILTER: isize = 12;
const NFT_MSG_NEWTABLE: u16 = 10 << 8;
const NFT_MSG_GETTABLE: u16 = 10 << 8 | 1;
const NFTA_TABLE_NAME: u16 = 1;
const NFTA_TABLE_USERDATA: u16 = 6;
/// `NFTNL_UDATA_TABLE_COMMENT` of libnftnl.
const COMMENT: u8 = 0;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;

/// The lengths of `struct nlmsghdr` and `struct nfgenmsg`.
const HEADER: usize = 16;
const GENERIC: usize = 4;

/// A family that has tables of its own (`NFPROTO_…` in linux/netfilter.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ip = 2,
    Bridge = 7,
}

/// A table that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Table {
    /// Its comment.
    pub(super) comment: Option<String>,
}

/// The table of that name; `None` if there is none or the kernel has no nf_tables.
pub(super) fn find(family: Family, name: &str) -> io::Result<Option<Table>> {
    match ask(family, name) {
        Ok(table) => Ok(Some(table)),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT | libc::EOPNOTSUPP | libc::EPROTONOSUPPORT | libc::EINVAL) => {
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

fn ask(family: Family, name: &str) -> io::Result<Table> {
    let mut socket = Socket::new(NETLINK_NETFILTER)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    socket.send(&question(family, name)?, 0)?;
    let mut buffer = Vec::with_capacity(8 << 10);
    socket.recv(&mut buffer, 0)?;
    answer(&buffer)
}

fn question(family: Family, name: &str) -> io::Result<Vec<u8>> {
    let value = name.len() + 1;
    let total = HEADER + GENERIC + 4 + value.next_multiple_of(4);
    let mut bytes = Vec::with_capacity(total);
    bytes.extend(u32::try_from(total).map_err(io::Error::other)?.to_ne_bytes());
    bytes.extend(NFT_MSG_GETTABLE.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]); // sequence and port
    bytes.extend([family as u8, 0, 0, 0]);
    bytes.extend(u16::try_from(4 + value).map_err(io::Error::other)?.to_ne_bytes());
    bytes.extend(NFTA_TABLE_NAME.to_ne_bytes());
    bytes.extend(name.bytes());
    bytes.resize(total, 0);
    Ok(bytes)
}

fn answer(bytes: &[u8]) -> io::Result<Table> {
    let unreadable =
        || io::Error::new(io::ErrorKind::InvalidData, "an unreadable nf_tables answer");
    let (message, _) = split_message(bytes).ok_or_else(unreadable)?;
    match u16_at(message, 4).ok_or_else(unreadable)? {
        NLMSG_ERROR => {
            let code = message.get(HEADER..HEADER + 4).and_then(|b| b.try_into().ok());
            let code = code.map(i32::from_ne_bytes).ok_or_else(unreadable)?;
            Err(io::Error::from_raw_os_error(code.saturating_neg()))
        }
        NFT_MSG_NEWTABLE => {
            let attributes = message.get(HEADER + GENERIC..).ok_or_else(unreadable)?;
            let data = attribute(attributes, NFTA_TABLE_USERDATA);
            Ok(Table { comment: data.and_then(comment) })
        }
        _ => Err(unreadable()),
    }
}

/// The value of the first attribute of that type.
fn attribute(mut bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(u16_at(bytes, 0)?);
        // The two highest bits are flags (linux/netlink.h).
        let kind = u16_at(bytes, 2)? & 0x3fff;
        let value = bytes.get(4..length)?;
        if kind == wanted {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

/// The comment among user data: type, length and value, a byte each for the first two.
fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = data {
        let value = rest.get(..usize::from(*length))?;
        if *kind == COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return std::str::from_utf8(text).ok().map(str::to_owned);
        }
        data = &rest[usize::from(*length)..];
    }
    None
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

/// FNV-1a, 64 bits: tells texts apart; not made to withstand an attacker.
pub(super) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_answer_is_read_without_a_panic(bytes: Vec<u8>) {
            let _outcome = answer(&bytes);
            let _comment = comment(&bytes);
            let _attribute = attribute(&bytes, NFTA_TABLE_USERDATA);
        }
    }

    #[test]
    fn the_fingerprint_is_that_of_the_published_vectors() {
        assert_eq!(fingerprint(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fingerprint("a"), 0xaf63_dc4c_8601_ec8c);
    }
}
