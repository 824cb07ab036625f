//! What one asker has of something that all share, so that nobody takes all of it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Who has how many shares.
#[derive(Debug)]
pub(crate) struct Shares {
    /// How many one address gets.
    each: usize,
    /// For each address, one reference more than it has shares.
    taken: HashMap<IpAddr, Arc<()>>,
}

/// A share. It is free again when this is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    _mark: Arc<()>,
}

impl Shares {
    pub(crate) fn new(each: usize) -> Self {
        Self { each, taken: HashMap::new() }
    }

    /// A share for the address; `None` when it has all that it gets.
    pub(crate) fn take(&mut self, address: IpAddr) -> Option<Share> {
        self.taken.retain(|_, mark| held(mark) > 0);
        let mark = self.taken.entry(address).or_default();
        (held(mark) < self.each).then(|| Share { _mark: Arc::clone(mark) })
    }
}

fn held(mark: &Arc<()>) -> usize {
    Arc::strong_count(mark) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_gets_its_part_and_again_when_it_has_given_back() {
        let [one, other] = [[172, 16, 0, 2], [172, 16, 0, 3]].map(IpAddr::from);
        let mut shares = Shares::new(2);
        let first = shares.take(one).unwrap();
        let _second = shares.take(one).unwrap();
        assert!(shares.take(one).is_none());
        let others = shares.take(other).unwrap();
        drop((first, others));
        assert!(shares.take(one).is_some_and(|_share| shares.taken.len() == 1));
    }
}
