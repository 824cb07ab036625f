//! Lines of banger's in a file of the user's, between two marks.

const BEGIN: &str = "# banger: begin (written at each boot; put your own lines outside)";
const END: &str = "# banger: end";
/// The beginning of the first mark, by which the block of an earlier version is found too.
const BEGIN_PREFIX: &str = "# banger: begin";

/// Renders `current` with its fenced block replaced by `lines`, every other line kept in its order.
/// A block without its end is taken to be one line long: the mark alone.
pub(crate) fn render(current: &str, lines: &[String]) -> String {
    let mut text = format!("{BEGIN}\n");
    for line in lines {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text.push_str(END);
    text.push('\n');
    for line in outside(current) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

fn outside(text: &str) -> Vec<&str> {
    let mut kept = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.starts_with(BEGIN_PREFIX) {
            let mut ahead = lines.clone();
            if ahead.by_ref().any(|line| line == END) {
                lines = ahead;
            }
        } else if line != END {
            kept.push(line);
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| format!("ssh-ed25519 AAAA {name}")).collect()
    }

    #[test]
    fn the_users_keys_stay_and_bangers_are_replaced() {
        let first = render("ssh-rsa BBBB mine\n", &keys(&["old"]));
        let second = render(&first, &keys(&["new", "newer"]));
        assert_eq!(
            second,
            format!(
                "{BEGIN}\nssh-ed25519 AAAA new\nssh-ed25519 AAAA newer\n{END}\nssh-rsa BBBB mine\n"
            )
        );
        assert_eq!(render(&second, &keys(&["new", "newer"])), second);
    }

    #[test]
    fn a_torn_block_costs_no_key_of_the_user() {
        let torn = format!("{BEGIN}\nssh-ed25519 AAAA old\nssh-rsa BBBB mine\n");
        assert!(render(&torn, &keys(&["new"])).contains("ssh-rsa BBBB mine"));
        assert!(render("# banger: end\nssh-rsa BBBB mine", &[]).ends_with("ssh-rsa BBBB mine\n"));
    }
}
