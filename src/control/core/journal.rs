//! What happened lately, numbered, for who asks for what came after a number. Pure.

use std::collections::VecDeque;

/// The newest so many.
#[derive(Debug)]
pub struct Journal<T> {
    items: VecDeque<T>,
    /// The number of the first of them.
    first: u64,
    most: usize,
}

impl<T: Clone> Journal<T> {
    /// Numbers begin at 1, so that 0 is before all.
    pub fn new(most: usize) -> Self {
        Self {
            items: VecDeque::new(),
            first: 1,
            most: most.max(1),
        }
    }

    /// The number of the newest; 0 before there is any.
    pub fn newest(&self) -> u64 {
        self.first + self.items.len() as u64 - 1
    }

    pub fn push(&mut self, item: T) -> u64 {
        if self.items.len() == self.most {
            self.items.pop_front();
            self.first += 1;
        }
        self.items.push_back(item);
        self.newest()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut()
    }

    /// What came after `number`, `most` at a time. `None` when some of that is not held any more, or
    /// the number is none of ours.
    pub fn after(&self, number: u64, most: usize) -> Option<Vec<(u64, T)>> {
        if number > self.newest() {
            return None;
        }
        let skipped = usize::try_from((number + 1).checked_sub(self.first)?).ok()?;
        let numbered = (number + 1..).zip(self.items.iter().skip(skipped).cloned());
        Some(numbered.take(most).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn who_asks_gets_all_in_order_or_is_told_that_it_is_gone(
            pushed in 0u64..50, most in 1usize..20, asked in 0u64..60, at_once in 1usize..60,
        ) {
            let mut journal = Journal::new(most);
            for n in 1..=pushed {
                prop_assert_eq!(journal.push(n * 10), n);
            }
            let kept_from = pushed.saturating_sub(most as u64);
            match journal.after(asked, at_once) {
                None => prop_assert!(asked < kept_from || asked > pushed),
                Some(found) => {
                    prop_assert!((kept_from..=pushed).contains(&asked));
                    let expected: Vec<_> = (asked + 1..=pushed).map(|n| (n, n * 10)).take(at_once).collect();
                    prop_assert_eq!(found, expected);
                }
            }
        }
    }
}
