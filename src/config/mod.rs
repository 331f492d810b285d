//! Settings: one table ([`table`]) makes the typed [`Config`], the environment's names,
//! `config/amphi.toml` and its test. Later wins: default, file, environment, flag.

mod table;
mod value;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use table::{Config, LogFormat, TABLE};
pub use value::Setting;

/// Every environment variable that is a setting starts with it.
pub const ENV_PREFIX: &str = "AMPHI_";

/// What is wrong with the settings, and what would be right.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ConfigError {
    #[error("{file}: cannot be read ({reason}); check the path given with --config")]
    Unreadable { file: PathBuf, reason: String },
    #[error("{file}: is not TOML: {reason}")]
    Syntax { file: PathBuf, reason: String },
    #[error("{origin}: there is no setting `{key}`; {allowed}")]
    UnknownKey {
        origin: String,
        key: String,
        allowed: String,
    },
    #[error("{origin}: `{key}` cannot be {given}; it takes {allowed}")]
    BadValue {
        origin: String,
        key: String,
        given: String,
        allowed: String,
    },
}

impl Config {
    /// The defaults, then `file` if there is one, then those of `environment` that carry
    /// [`ENV_PREFIX`]. Flags come on top, by the caller.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| ConfigError::Unreadable {
                file: path.to_owned(),
                reason: e.to_string(),
            })?;
            config.apply_file(path, &text)?;
        }
        config.apply_environment(environment)?;
        Ok(config)
    }

    fn apply_file(&mut self, path: &Path, text: &str) -> Result<(), ConfigError> {
        let origin = path.display().to_string();
        let sections: toml::Table =
            text.parse()
                .map_err(|e: toml::de::Error| ConfigError::Syntax {
                    file: path.to_owned(),
                    reason: e.to_string(),
                })?;
        for (section, keys) in &sections {
            let known = TABLE.iter().any(|setting| setting.section == section);
            let Some(keys) = keys.as_table().filter(|_| known) else {
                return Err(unknown(&origin, section));
            };
            for (key, value) in keys {
                self.set(&origin, &format!("{section}.{key}"), value)?;
            }
        }
        Ok(())
    }

    fn apply_environment(
        &mut self,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<(), ConfigError> {
        let names: BTreeMap<String, String> = TABLE
            .iter()
            .map(|setting| (setting.environment_name(), setting.path()))
            .collect();
        for (name, text) in environment {
            if !name.starts_with(ENV_PREFIX) {
                continue;
            }
            let Some(key) = names.get(&name) else {
                return Err(ConfigError::UnknownKey {
                    origin: "environment".into(),
                    key: name,
                    allowed: format!("names are {ENV_PREFIX}SECTION_KEY, as in AMPHI_HTTP_LISTEN"),
                });
            };
            let value = value::from_environment(&text);
            let as_text = toml::Value::String(text.clone());
            let origin = format!("environment variable {name}");
            self.set(&origin, key, &value)
                .or_else(|_| self.set(&origin, key, &as_text))?;
        }
        Ok(())
    }

    fn set(&mut self, origin: &str, key: &str, value: &toml::Value) -> Result<(), ConfigError> {
        let setting = TABLE
            .iter()
            .find(|setting| setting.path() == key)
            .ok_or_else(|| unknown(origin, key))?;
        (setting.set)(self, value).map_err(|()| ConfigError::BadValue {
            origin: origin.to_owned(),
            key: key.to_owned(),
            given: value.to_string(),
            allowed: setting.allowed(),
        })
    }
}

/// The file an operator starts from: every setting, its default and its meaning.
pub fn default_file() -> String {
    let mut text = String::from(
        "# Every setting of Amphi with its default. Generated from the settings table\n\
         # (src/config/table.rs) by `amphi config`; a test keeps the two the same.\n\
         # An environment variable AMPHI_SECTION_KEY wins over this file, a flag over both.\n",
    );
    let mut section = "";
    for setting in TABLE {
        if setting.section != section {
            section = setting.section;
            text += &format!("\n[{section}]\n");
        }
        for line in setting.doc {
            text += &format!("#{line}\n");
        }
        text += &format!("# Takes {}.\n", setting.allowed());
        text += &format!("{} = {}\n", setting.key, setting.default);
    }
    text
}

fn unknown(origin: &str, key: &str) -> ConfigError {
    let section = key.split('.').next().unwrap_or_default();
    let siblings: Vec<_> = TABLE
        .iter()
        .filter(|setting| setting.section == section)
        .map(|setting| setting.key)
        .collect();
    let allowed = if siblings.is_empty() {
        let mut sections: Vec<_> = TABLE.iter().map(|setting| setting.section).collect();
        sections.dedup();
        format!("sections are {}", sections.join(", "))
    } else {
        format!("[{section}] has {}", siblings.join(", "))
    };
    ConfigError::UnknownKey {
        origin: origin.to_owned(),
        key: key.to_owned(),
        allowed,
    }
}

#[cfg(test)]
mod tests;
