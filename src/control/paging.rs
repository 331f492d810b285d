//! Lists in pages: how much at once, and what comes after.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

const USUAL: u16 = 100;
const MOST: u16 = 1000;

/// How many of a list are asked for at once.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "u16")]
pub struct Limit(u16);

impl Limit {
    /// So many, and one that tells that there is more.
    pub fn and_one(self) -> usize {
        usize::from(self.0) + 1
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(USUAL)
    }
}

impl TryFrom<u16> for Limit {
    type Error = String;

    fn try_from(limit: u16) -> Result<Self, String> {
        match (1..=MOST).contains(&limit) {
            true => Ok(Self(limit)),
            false => Err(format!("limit is 1 to {MOST}")),
        }
    }
}

/// A piece of a list.
#[derive(Debug, Serialize, ToSchema)]
pub struct Page<T> {
    pub items: Vec<T>,
    /// What `cursor` of the next page is; `null` on the last.
    pub next: Option<String>,
}

impl<T> Page<T> {
    /// Of what was found when [`Limit::and_one`] were looked for.
    pub fn of(mut items: Vec<T>, limit: Limit, cursor: impl Fn(&T) -> String) -> Self {
        let is_more = items.len() == limit.and_one();
        items.truncate(usize::from(limit.0));
        let next = items.last().filter(|_| is_more).map(cursor);
        Self { items, next }
    }

    pub fn map<U>(self, each: impl Fn(T) -> U) -> Page<U> {
        Page {
            items: self.items.into_iter().map(each).collect(),
            next: self.next,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_says_so() {
        let page = |found: &[u8]| {
            let limit = Limit::try_from(2).expect("in range");
            let page = Page::of(found.to_vec(), limit, ToString::to_string);
            (page.items, page.next)
        };
        assert_eq!(page(&[]), (vec![], None));
        assert_eq!(page(&[1, 2]), (vec![1, 2], None));
        assert_eq!(page(&[1, 2, 3]), (vec![1, 2], Some("2".to_owned())));
        assert!(Limit::try_from(0).is_err() && Limit::try_from(MOST + 1).is_err());
    }
}
