//! Layouts as an operator writes them in `pipelines/layouts`.
//!
//! A layout is a list of scenes, of which the first is taken whose needs are met. A scene is a
//! list of areas, each of which takes some of those who are left, in the order of the stage.

use std::ops::Range;
use std::path::PathBuf;

use serde::Deserialize;

use super::{Fit, MAX_TILES};
use crate::program::core::files::{FileError, Files, Kind};

const LAYOUTS: Kind = Kind {
    name: "layout",
    folder: "layouts",
    built_in: &[
        (
            "grid",
            include_str!("../../../../pipelines/layouts/grid.toml"),
        ),
        (
            "spotlight",
            include_str!("../../../../pipelines/layouts/spotlight.toml"),
        ),
        (
            "side-by-side",
            include_str!("../../../../pipelines/layouts/side-by-side.toml"),
        ),
        (
            "picture-in-picture",
            include_str!("../../../../pipelines/layouts/picture-in-picture.toml"),
        ),
        (
            "presentation",
            include_str!("../../../../pipelines/layouts/presentation.toml"),
        ),
        (
            "solo",
            include_str!("../../../../pipelines/layouts/solo.toml"),
        ),
    ],
};

/// A tile smaller than this share of the canvas shows nothing.
const LEAST: f64 = 0.02;

/// One way to arrange the stage.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    pub name: String,
    /// Between tiles, as a share of the canvas' width.
    pub gap: f64,
    /// What shows where no picture is, as 0xRRGGBB.
    pub background: u32,
    /// What stands there instead: a PNG or a JPEG.
    pub backdrop: Option<PathBuf>,
    /// Whether names stand in the pictures.
    pub names: bool,
    pub scenes: Vec<Scene>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Scene {
    /// It is taken when there are so many sources, and so many screens among them.
    pub needs: usize,
    pub screens: usize,
    pub areas: Vec<Area>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Area {
    pub who: Who,
    /// Left, top, width and height, as shares of the canvas.
    pub at: [f64; 4],
    pub flow: Flow,
    /// Sources at most.
    pub most: usize,
    pub fit: Fit,
    /// It lies over other areas.
    pub over: bool,
}

/// Of those who are left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Who {
    All,
    /// The same, of an area after the first.
    Others,
    /// Who is pinned or speaks; else the first camera.
    Featured,
    Screens,
    Cameras,
}

/// How several stand in one area.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Flow {
    #[default]
    Grid,
    Row,
    Column,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LayoutFile {
    #[serde(default)]
    gap: Option<toml::Spanned<f64>>,
    #[serde(default)]
    background: Option<toml::Spanned<String>>,
    #[serde(default)]
    backdrop: Option<toml::Spanned<String>>,
    #[serde(default = "yes")]
    names: bool,
    scene: Vec<SceneFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SceneFile {
    #[serde(default)]
    needs: usize,
    #[serde(default)]
    screens: usize,
    area: Vec<AreaFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AreaFile {
    who: Who,
    at: toml::Spanned<[f64; 4]>,
    #[serde(default)]
    flow: Flow,
    most: Option<toml::Spanned<usize>>,
    #[serde(default)]
    fit: Fit,
    #[serde(default)]
    over: bool,
}

fn yes() -> bool {
    true
}

/// All layouts built in, and those of these `names` besides, which are the operator's own.
pub fn load_all(files: &Files<'_>, names: &[String]) -> Result<Vec<Layout>, FileError> {
    let built_in = LAYOUTS.built_in.iter().map(|(name, _)| (*name).to_owned());
    let mut all: Vec<String> = built_in.collect();
    let own = names.iter().filter(|name| !all.contains(name));
    let own: Vec<String> = own.cloned().collect();
    all.extend(own);
    all.into_iter().map(|name| load(files, name)).collect()
}

fn load(files: &Files<'_>, name: String) -> Result<Layout, FileError> {
    let (file, text) = files.text(LAYOUTS, &name)?;
    let bad = |reason| FileError::Bad {
        file: file.clone(),
        reason,
    };
    let parsed: LayoutFile = toml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    // As toml's own errors begin.
    let line = |span: Range<usize>| {
        let before = text.get(..span.start).unwrap_or_default();
        format!("line {}", before.matches('\n').count() + 1)
    };
    let picture = |name: &str| files.picture(LAYOUTS, name);
    read(name, parsed, picture, line).map_err(bad)
}

fn read(
    name: String,
    file: LayoutFile,
    picture: impl Fn(&str) -> Option<PathBuf>,
    line: impl Fn(Range<usize>) -> String,
) -> Result<Layout, String> {
    let gap = match file.gap {
        None => 0.0,
        Some(gap) if (0.0..=0.1).contains(gap.as_ref()) => gap.into_inner(),
        Some(gap) => {
            let line = line(gap.span());
            return Err(format!("{line}: gap is 0 to 0.1 of the canvas' width"));
        }
    };
    let background = match &file.background {
        None => 0,
        Some(text) => colour(text.as_ref()).ok_or_else(|| {
            let line = line(text.span());
            format!("{line}: background is a colour such as \"#101418\"")
        })?,
    };
    let backdrop = file.backdrop.as_ref().map(|name| {
        picture(name.as_ref()).ok_or_else(|| {
            let line = line(name.span());
            format!(
                "{line}: backdrop is a PNG or a JPEG beside this file; `{}` is none",
                name.as_ref()
            )
        })
    });
    let backdrop = backdrop.transpose()?;
    if file.scene.is_empty() {
        return Err("it needs a [[scene]]".to_owned());
    }
    let mut scenes = Vec::new();
    for scene in file.scene {
        let mut areas: Vec<Area> = Vec::new();
        for area in scene.area {
            let place = line(area.at.span());
            let area = read_area(area, &line)?;
            let under = areas
                .iter()
                .find(|other| !area.over && overlap(&area.at, &other.at));
            if under.is_some() {
                return Err(format!(
                    "{place}: this area overlaps one before it; `over = true` if it should"
                ));
            }
            areas.push(area);
        }
        scenes.push(Scene {
            needs: scene.needs,
            screens: scene.screens,
            areas,
        });
    }
    if scenes
        .last()
        .is_some_and(|last| last.needs > 1 || last.screens > 0)
    {
        return Err("the last [[scene]] must need nothing, so that there always is one".to_owned());
    }
    Ok(Layout {
        name,
        gap,
        background,
        backdrop,
        names: file.names,
        scenes,
    })
}

fn read_area(area: AreaFile, line: impl Fn(Range<usize>) -> String) -> Result<Area, String> {
    let [x, y, width, height] = *area.at.as_ref();
    let is_inside = x >= 0.0 && y >= 0.0 && x + width <= 1.0001 && y + height <= 1.0001;
    if !is_inside || width < LEAST || height < LEAST {
        let line = line(area.at.span());
        return Err(format!(
            "{line}: at is [left, top, width, height], shares of the canvas: inside it, and not less than {LEAST} wide and high"
        ));
    }
    let most = match (&area.most, area.who) {
        (None, Who::Featured) => 1,
        (None, _) => MAX_TILES,
        (Some(most), _) if (1..=MAX_TILES).contains(most.as_ref()) => *most.as_ref(),
        (Some(most), _) => {
            let line = line(most.span());
            return Err(format!("{line}: most is 1 to {MAX_TILES}"));
        }
    };
    Ok(Area {
        who: area.who,
        at: [x, y, width, height],
        flow: area.flow,
        most,
        fit: area.fit,
        over: area.over,
    })
}

fn overlap(a: &[f64; 4], b: &[f64; 4]) -> bool {
    let apart = |from: usize| {
        a[from] + a[from + 2] <= b[from] + 0.0001 || b[from] + b[from + 2] <= a[from] + 0.0001
    };
    !apart(0) && !apart(1)
}

/// `#RRGGBB`
fn colour(text: &str) -> Option<u32> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    u32::from_str_radix(digits, 16).ok()
}
