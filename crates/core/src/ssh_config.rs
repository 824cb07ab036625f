//! The part of an ssh client's configuration by which `ssh otter.vm` enters a VM (ssh_config(5)).
//!
//! It says what `banger vm ssh` says on ssh's command line, less what is the user's own choice: an
//! agent can still be forwarded, and a log level set.

use crate::dns::ZONE;
use std::path::Path;

/// Renders it, with the private key and the file that has the VMs' host keys under their names.
pub fn render(user: &str, key: &Path, known_hosts: &Path) -> String {
    let (key, known_hosts) = (path_value(key), path_value(known_hosts));
    format!(
        "# The VMs of banger: `ssh otter.{ZONE}`. bangerd writes this file anew when it starts.\n\
         Host *.{ZONE}\n\
         \x20   User {user}\n\
         \x20   IdentityFile {key}\n\
         \x20   IdentitiesOnly yes\n\
         \x20   PreferredAuthentications publickey\n\
         \x20   UserKnownHostsFile {known_hosts}\n\
         \x20   GlobalKnownHostsFile /dev/null\n\
         \x20   HostKeyAlgorithms ssh-ed25519\n\
         \x20   StrictHostKeyChecking yes\n"
    )
}

/// A path as the value of an option that takes tokens: `%` begins one.
pub fn path_value(path: &Path) -> String {
    quoted(&path.display().to_string().replace('%', "%%"))
}

/// Text as one word of a line: blanks part words, and within quotes a backslash says that a quote
/// or a backslash is meant.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_and_the_host_keys_are_bangers_alone() {
        let text = render("root", Path::new("/s/ssh/id"), Path::new("/s/ssh/known hosts"));
        insta::assert_snapshot!(text, @r#"
        # The VMs of banger: `ssh otter.vm`. bangerd writes this file anew when it starts.
        Host *.vm
            User root
            IdentityFile "/s/ssh/id"
            IdentitiesOnly yes
            PreferredAuthentications publickey
            UserKnownHostsFile "/s/ssh/known hosts"
            GlobalKnownHostsFile /dev/null
            HostKeyAlgorithms ssh-ed25519
            StrictHostKeyChecking yes
        "#);
    }

    #[test]
    fn paths_survive_blanks_percent_signs_and_quotes() {
        assert_eq!(path_value(Path::new("/a b/100%")), "\"/a b/100%%\"");
        assert_eq!(quoted(r#"/a"b\c"#), r#""/a\"b\\c""#);
    }
}
