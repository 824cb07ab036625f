//! The guest's own name in `/etc/hosts`.

/// What marks banger's line.
const MARK: &str = "# banger";
/// The file of an image that has none.
const DEFAULT: &str = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n";

/// Renders the file with `hostname` at 127.0.1.1, as Debian does for a host without a fixed name.
/// Every line that is not banger's own is kept; none is added if one names the host already.
pub(crate) fn render(current: Option<&str>, hostname: &str) -> String {
    let mut text = String::new();
    for line in current.unwrap_or(DEFAULT).lines().filter(|line| !line.trim_end().ends_with(MARK)) {
        text.push_str(line);
        text.push('\n');
    }
    if !text.lines().any(|line| names(line, hostname)) {
        text.push_str(&format!("127.0.1.1\t{hostname}\t{MARK}\n"));
    }
    text
}

fn names(line: &str, hostname: &str) -> bool {
    let entry = line.split('#').next().unwrap_or_default();
    entry.split_whitespace().skip(1).any(|name| name == hostname)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_without_the_file_gets_a_whole_one() {
        assert_eq!(
            render(None, "otter"),
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
             127.0.1.1\totter\t# banger\n"
        );
    }

    #[test]
    fn rendering_twice_changes_nothing() {
        let once = render(Some("10.0.0.9 db # mine"), "otter");
        assert_eq!(render(Some(&once), "otter"), once);
        assert!(once.starts_with("10.0.0.9 db # mine\n"));
    }

    #[test]
    fn the_line_of_a_former_name_goes() {
        let before = render(None, "otter");
        let after = render(Some(&before), "lynx");
        assert!(after.contains("lynx") && !after.contains("otter"));
    }

    #[test]
    fn a_name_that_the_user_gave_an_address_keeps_it() {
        let text = "172.16.0.2 otter otter.vm\n";
        assert_eq!(render(Some(text), "otter"), text);
    }
}
