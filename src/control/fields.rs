//! How fields of a body are read, where serde's own way is not what JSON's users expect.

use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// Of a name that others see, of an identity, and of what a key is for.
pub const MAX_NAME_CHARS: usize = 80;

/// In JSON, 2.0 is a whole number too.
pub fn whole<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let Some(number) = Option::<f64>::deserialize(deserializer)? else {
        return Ok(None);
    };
    let is_whole = number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&number);
    let fits = is_whole.then(|| T::try_from(number as u64).ok()).flatten();
    match fits {
        Some(whole) => Ok(Some(whole)),
        None => Err(D::Error::custom(format!(
            "{number} is no whole number, or too large a one"
        ))),
    }
}

/// A name that can be seen, without what a terminal would obey.
pub fn name<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let name = Option::<String>::deserialize(deserializer)?;
    let fits = |name: &String| !name.trim().is_empty() && name.chars().count() <= MAX_NAME_CHARS;
    match name.as_ref().is_none_or(fits) {
        true => Ok(name.map(|name| name.chars().filter(|c| !c.is_control()).collect())),
        false => Err(D::Error::custom(format!(
            "a name has 1 to {MAX_NAME_CHARS} characters"
        ))),
    }
}

/// Not empty, and not long.
pub fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    let length = text.as_ref().map_or(1, |text| text.chars().count());
    match (1..=MAX_NAME_CHARS).contains(&length) {
        true => Ok(text),
        false => Err(D::Error::custom(format!(
            "identity and name have 1 to {MAX_NAME_CHARS} characters"
        ))),
    }
}

/// Tells `null` from what is not there.
pub fn named<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn numbers_are_whole_whatever_they_look_like() {
        let read = |value: Value| whole::<_, u16>(value).ok();
        assert_eq!(read(json!(2)), Some(Some(2)));
        assert_eq!(read(json!(2.0)), Some(Some(2)));
        assert_eq!(read(json!(null)), Some(None));
        for bad in [
            json!(2.5),
            json!(-1),
            json!(65_536),
            json!(1e300),
            json!("2"),
        ] {
            assert_eq!(read(bad.clone()), None, "{bad}");
        }
    }

    #[test]
    fn names_can_be_seen() {
        let read = |text: &str| name(json!(text)).ok().flatten();
        assert_eq!(read("Ada\u{7}"), Some("Ada".to_owned()));
        assert_eq!(read(" "), None);
        assert_eq!(read(&"a".repeat(81)), None);
    }
}
