//! The files of `pipelines/`: those built in, and those that an operator puts in their place.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

/// Why a file cannot be used; it names the file, and the line where there is one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("there is no {kind} `{name}`: built in are {known}; your own go into {folder}")]
    Unknown {
        kind: &'static str,
        name: String,
        known: String,
        folder: String,
    },
    #[error("{file}: {reason}")]
    Bad { file: String, reason: String },
}

/// One kind of file, by its folder: `ladders`, and so on.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    pub name: &'static str,
    pub folder: &'static str,
    /// Names and texts.
    pub built_in: &'static [(&'static str, &'static str)],
}

/// Where an operator's own files are.
pub struct Files<'a> {
    pub folder: Option<&'a Path>,
    /// Gives the text of a file, if it is there.
    pub read: &'a dyn Fn(&Path) -> Option<String>,
}

impl Files<'static> {
    /// No operator's own.
    pub fn built_in() -> Self {
        Self {
            folder: None,
            read: &|_| None,
        }
    }
}

impl Files<'_> {
    /// The file `name` of a kind, and its text: the operator's own, else the one built in.
    pub fn text(&self, kind: Kind, name: &str) -> Result<(String, String), FileError> {
        let path = PathBuf::from(kind.folder).join(format!("{name}.toml"));
        let own = self.folder.map(|folder| folder.join(&path));
        let own = own.and_then(|file| Some((file.display().to_string(), (self.read)(&file)?)));
        let built_in = || {
            let mut all = kind.built_in.iter();
            let (_, text) = all.find(|(known, _)| *known == name)?;
            Some((path.display().to_string(), (*text).to_owned()))
        };
        own.or_else(built_in).ok_or_else(|| {
            let known = kind.built_in.iter().map(|(name, _)| *name);
            let folder = self.folder.map(|folder| folder.join(kind.folder));
            FileError::Unknown {
                kind: kind.name,
                name: name.to_owned(),
                known: known.collect::<Vec<_>>().join(", "),
                folder: folder.map_or("the folder program.pipelines".into(), |folder| {
                    folder.display().to_string()
                }),
            }
        })
    }

    /// The file parsed, and what it is called.
    pub fn load<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<(String, T), FileError> {
        let (file, text) = self.text(kind, name)?;
        // toml's errors name line and column.
        match toml::from_str(&text) {
            Ok(value) => Ok((file, value)),
            Err(error) => Err(FileError::Bad {
                file,
                reason: error.to_string(),
            }),
        }
    }
}
