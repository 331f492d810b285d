//! What part of a file a `Range` header asks for (RFC 9110 §14.2).

use std::ops::Range;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// No range, one that does not read, or several: these may be answered with all of it.
    All,
    Part(Range<u64>),
    /// It begins behind the end: 416.
    Beyond,
}

pub fn wanted(header: Option<&str>, size: u64) -> Wanted {
    let Some((first, last)) = header
        .and_then(|header| header.trim().strip_prefix("bytes="))
        .and_then(|range| range.split_once('-'))
    else {
        return Wanted::All;
    };
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        text if text.bytes().all(|b| b.is_ascii_digit()) => Some(Some(text.parse().ok()?)),
        _ => None,
    };
    let (Some(first), Some(last)) = (number(first), number(last)) else {
        return Wanted::All;
    };
    let range: Range<u64> = match (first, last) {
        (None, None) => return Wanted::All,
        (None, Some(last_bytes)) => size.saturating_sub(last_bytes)..size,
        (Some(first), None) => first..size,
        (Some(first), Some(last)) if last < first => return Wanted::All,
        (Some(first), Some(last)) => first..size.min(last.saturating_add(1)),
    };
    if range.is_empty() {
        Wanted::Beyond
    } else {
        Wanted::Part(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(header: &str, expect: Wanted) {
        assert_eq!(wanted(Some(header), 100), expect, "{header:?}");
    }

    #[test]
    fn one_range_is_understood() {
        assert_eq!(wanted(None, 100), Wanted::All);
        check("bytes=0-", Wanted::Part(0..100));
        check("bytes=0-0", Wanted::Part(0..1));
        check("bytes=10-19", Wanted::Part(10..20));
        check("bytes=90-1000", Wanted::Part(90..100));
        check("bytes=-10", Wanted::Part(90..100));
        check("bytes=-1000", Wanted::Part(0..100));
        check("bytes=100-", Wanted::Beyond);
        check("bytes=-0", Wanted::Beyond);
        check("bytes=20-10", Wanted::All);
        check("bytes=0-1,3-4", Wanted::All);
        check("bytes=-", Wanted::All);
        check("bytes=+1-2", Wanted::All);
        check("lines=1-2", Wanted::All);
        check("bytes=99999999999999999999-", Wanted::All);
    }
}
