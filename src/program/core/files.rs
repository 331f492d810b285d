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

/// How PNG and JPEG files begin.
const PICTURES: [&[u8]; 2] = [b"\x89PNG\r\n", b"\xFF\xD8\xFF"];

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
    /// Gives what is in a file, if it is there.
    pub read: &'a dyn Fn(&Path) -> Option<Vec<u8>>,
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
        let own = own.and_then(|file| {
            let bytes = (self.read)(&file)?;
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Some((file.display().to_string(), text))
        });
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

    /// A picture of the operator's, beside the files of a kind: its path, if it is a PNG or a JPEG.
    pub fn picture(&self, kind: Kind, name: &str) -> Option<PathBuf> {
        let path = self.folder?.join(kind.folder).join(name);
        let bytes = (self.read)(&path)?;
        let is_picture = PICTURES.iter().any(|begin| bytes.starts_with(begin));
        is_picture.then_some(path)
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
