//! Taking out of a text what nobody else may know: private keys, tokens, passwords. Pure.
//!
//! Nothing of the kind should be in a log. This is the second lock: a guest prints what it likes, and
//! a program that was run may say more than it should.

/// What stands in the place of what was taken out.
const GONE: &str = "[removed]";

/// Words in the name of a value that make it a secret, in lower case.
const SECRET_NAMES: [&str; 9] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "private_key",
    "authorization",
];

/// How well-known kinds of tokens begin, and from which length on it is one.
const TOKENS: [(&str, usize); 9] = [
    ("ghp_", 20),
    ("gho_", 20),
    ("ghs_", 20),
    ("github_pat_", 20),
    ("glpat-", 20),
    ("xoxb-", 20),
    ("xoxp-", 20),
    ("AKIA", 20),
    ("eyJ", 40),
];

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";

/// The text without secrets, and how many were taken out.
pub(super) fn redact(text: &str) -> (String, usize) {
    let mut kept = String::with_capacity(text.len());
    let mut removed = 0;
    let mut in_key = false;
    for line in text.split_inclusive('\n') {
        let (content, end) = match line.strip_suffix('\n') {
            Some(content) => (content, "\n"),
            None => (line, ""),
        };
        if in_key {
            in_key = !content.contains(END);
            continue;
        }
        let content = match private_key(content) {
            Some((before, after)) => {
                removed += 1;
                in_key = after.is_none();
                format!("{before}{GONE}{}", after.unwrap_or_default())
            }
            None => content.to_owned(),
        };
        let (content, values) = values(&content);
        removed += values;
        kept.push_str(&content);
        kept.push_str(end);
    }
    (kept, removed)
}

/// What stands before and after a private key; nothing after it where it goes on in the next line.
fn private_key(line: &str) -> Option<(&str, Option<&str>)> {
    let begin = line.find(BEGIN)?;
    let (before, key) = line.split_at(begin);
    if !key.contains("PRIVATE KEY") {
        return None;
    }
    let after = key.split_once(END).map(|(_, end)| match end.split_once("-----") {
        Some((_, after)) => after,
        None => "",
    });
    Some((before, after))
}

/// Takes out values that are named as secrets, passwords in URLs, and what looks like a token.
fn values(line: &str) -> (String, usize) {
    let mut kept = String::with_capacity(line.len());
    let mut removed = 0;
    let mut is_secret = Naming::Plain;
    for word in words(line) {
        let is_break = !word.chars().next().is_some_and(is_of_word);
        if is_break {
            is_secret = is_secret.after(word);
            kept.push_str(word);
            continue;
        }
        match (is_secret, without_login(word)) {
            // `Authorization: Bearer x`: the scheme is no secret, what follows it is.
            (Naming::Value, _) if ["Bearer", "Basic"].contains(&word) => kept.push_str(word),
            (Naming::Value, _) => {
                kept.push_str(GONE);
                removed += 1;
                is_secret = Naming::Plain;
            }
            _ if is_token(word) => {
                kept.push_str(GONE);
                removed += 1;
            }
            (_, Some(clean)) => {
                kept.push_str(&clean);
                removed += 1;
            }
            _ => {
                is_secret = if names_a_secret(word) { Naming::Name } else { Naming::Plain };
                kept.push_str(word);
            }
        }
    }
    (kept, removed)
}

/// Whether what comes next is the value of a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Naming {
    /// Nothing was named.
    Plain,
    /// The name of a secret was just there.
    Name,
    /// And then what leads to its value.
    Value,
}

impl Naming {
    /// What holds behind a stretch between two words.
    fn after(self, between: &str) -> Self {
        match self {
            Self::Name if between.contains(['=', ':']) => Self::Value,
            Self::Value => Self::Value,
            Self::Name | Self::Plain => Self::Plain,
        }
    }
}

/// What words are made of; `=`, `:`, quotes, commas and blanks stand between them. A URL is one word,
/// by its `://` and its `@`.
fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || "_-./+@%~$!*^&?#;".contains(c)
}

/// The words of a line and what stands between them, in turn.
fn words(line: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = line;
    while let Some(first) = rest.chars().next() {
        let in_word = is_of_word(first);
        let end = if in_word { end_of_word(rest) } else { rest.find(is_of_word) };
        let (word, after) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word);
        rest = after;
    }
    words
}

fn end_of_word(text: &str) -> Option<usize> {
    let end = text.find(|c| !is_of_word(c))?;
    // `https://user:password@host/`: up to the blank or quote behind it.
    if text[end..].starts_with("://") {
        let is_end = |c: char| c.is_whitespace() || "\"'`<>".contains(c);
        return text.find(is_end);
    }
    Some(end)
}

/// A URL without the login that it has; `None` for anything else.
fn without_login(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let host = rest.split('/').next().unwrap_or_default();
    let at = host.rfind('@')?;
    Some(format!("{scheme}://{GONE}{}", &rest[at..]))
}

fn is_token(word: &str) -> bool {
    let begins =
        |(prefix, length): &(&str, usize)| word.starts_with(prefix) && word.len() >= *length;
    TOKENS.iter().any(begins)
}

fn names_a_secret(word: &str) -> bool {
    let word = word.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|name| word.contains(name))
}

/// A configuration without its comments, in which anything may stand.
pub(crate) fn without_comments(text: &str) -> String {
    text.lines().map(|line| line[..comment(line)].trim_end()).filter(|line| !line.is_empty()).fold(
        String::new(),
        |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        },
    )
}

/// Where the comment of a line of TOML begins, or the line ends.
fn comment(line: &str) -> usize {
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in line.char_indices() {
        match (quote, c) {
            (Some('"'), '\\') if !escaped => {
                escaped = true;
                continue;
            }
            (Some(open), c) if c == open && !escaped => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '#') => return at,
            _ => {}
        }
        escaped = false;
    }
    line.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn private_keys_go_as_a_whole() {
        let text = "before\n-----BEGIN OPENSSH PRIVATE KEY-----\nb3Blbn\nAAAA\n\
                    -----END OPENSSH PRIVATE KEY-----\nafter\n";
        assert_eq!(redact(text), ("before\n[removed]\nafter\n".to_owned(), 1));
        let line =
            r#"{"msg":"-----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY-----\n"}"#;
        assert_eq!(redact(line), (r#"{"msg":"[removed]\n"}"#.to_owned(), 1));
        let public = "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----\n";
        assert_eq!(redact(public), (public.to_owned(), 0));
        assert_eq!(redact("-----BEGIN PRIVATE KEY-----\nMII"), ("[removed]\n".to_owned(), 1));
    }

    #[test]
    fn values_that_are_named_as_secrets_go_and_their_names_stay() {
        for (text, kept) in [
            ("password=hunter2 rest", "password=[removed] rest"),
            (r#"{"api_key": "hunter2", "n": 1}"#, r#"{"api_key": "[removed]", "n": 1}"#),
            ("DB_PASSWORD: hunter2", "DB_PASSWORD: [removed]"),
            ("Authorization: Bearer hunter2", "Authorization: Bearer [removed]"),
            ("get https://me:hunter2@host/x?y", "get https://[removed]@host/x?y"),
            ("auth-token = \"hunter2\"", "auth-token = \"[removed]\""),
            ("saw ghp_0123456789abcdefghij here", "saw [removed] here"),
        ] {
            assert_eq!(redact(text), (kept.to_owned(), 1), "{text}");
        }
    }

    #[test]
    fn everything_else_stays_as_it_is() {
        for text in [
            "Started sshd, listening on 0.0.0.0:22.",
            r#"{"ts":"2026-01-02T03:04:05Z","level":"info","vm_name":"otter","stage":"ssh: up"}"#,
            "[    0.000000] Linux version 6.1.0 (gcc-12: 12.2) #1 SMP",
            "the password is asked for",
            "https://deb.debian.org/debian bookworm",
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHm user@host",
        ] {
            assert_eq!(redact(text), (text.to_owned(), 0));
        }
    }

    #[test]
    fn comments_go_and_what_only_looks_like_one_stays() {
        let text = "# mine: hunter2\nvcpu = 2 # two\n\nbundle_dir = \"/a#b\"\nx = 'c#' # d\n";
        assert_eq!(without_comments(text), "vcpu = 2\nbundle_dir = \"/a#b\"\nx = 'c#'\n");
    }
}
