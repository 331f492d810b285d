//! What a setting's value can be, and how it is read from TOML.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use super::table::Config;

/// One row of the settings table.
pub struct Setting {
    pub section: &'static str,
    pub key: &'static str,
    /// As TOML text.
    pub default: &'static str,
    pub doc: &'static [&'static str],
    /// What kind of value, before its range.
    pub(super) kind: &'static str,
    pub(super) range: &'static str,
    pub(super) set: fn(&mut Config, &toml::Value) -> Result<(), ()>,
}

impl Setting {
    /// `section.key`
    pub fn path(&self) -> String {
        format!("{}.{}", self.section, self.key)
    }

    /// `AMPHI_SECTION_KEY`
    pub fn environment_name(&self) -> String {
        format!("{}{}_{}", super::ENV_PREFIX, self.section, self.key).to_uppercase()
    }

    pub fn allowed(&self) -> String {
        if self.range.is_empty() {
            self.kind.to_owned()
        } else {
            format!("{}, {}", self.kind, self.range)
        }
    }
}

/// A type a setting can have.
pub(super) trait Value: Sized {
    const KIND: &'static str;
    fn read(value: &toml::Value) -> Option<Self>;
}

impl Value for bool {
    const KIND: &'static str = "true or false";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_bool()
    }
}

impl Value for u64 {
    const KIND: &'static str = "a whole number";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }
}

impl Value for u32 {
    const KIND: &'static str = "a whole number";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }
}

impl Value for usize {
    const KIND: &'static str = "a whole number";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_integer()?.try_into().ok()
    }
}

impl Value for String {
    const KIND: &'static str = "a text";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_str().map(str::to_owned)
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "a path";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_str().map(PathBuf::from)
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "an address with a port, as \"0.0.0.0:8080\" or \"[::]:8080\"";
    fn read(value: &toml::Value) -> Option<Self> {
        value.as_str()?.parse().ok()
    }
}

impl Value for Duration {
    const KIND: &'static str = "a time span, as \"200ms\", \"2s\" or \"5m\"";
    fn read(value: &toml::Value) -> Option<Self> {
        humantime::parse_duration(value.as_str()?).ok()
    }
}

impl Value for Vec<IpAddr> {
    const KIND: &'static str = "a list of IP addresses";
    fn read(value: &toml::Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|v| v.as_str()?.parse().ok())
            .collect()
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "a list of texts";
    fn read(value: &toml::Value) -> Option<Self> {
        value
            .as_array()?
            .iter()
            .map(|v| v.as_str().map(str::to_owned))
            .collect()
    }
}

/// A variable's text as a TOML value if it is one (`8`, `true`, `["a"]`), else as a string.
pub(super) fn from_environment(text: &str) -> toml::Value {
    format!("v = {text}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("v"))
        .unwrap_or_else(|| toml::Value::String(text.to_owned()))
}
