//! The structure holds: who may use whom, what cores keep out, and that each file says what it is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Which top-level modules a module may name. `main` and `server` may name all.
const MAY_USE: &[(&str, &[&str])] = &[
    ("room", &[]),
    ("rtc", &["room", "problem"]),
    ("program", &["room"]),
    ("pipeline", &["program::core", "room"]),
    ("hls", &["room", "problem"]),
    ("vod", &["room", "problem", "hls::core"]),
    ("control", &["room", "problem", "metrics"]),
    ("web", &["room", "problem"]),
    // `amphi load` is the other end of the same connections.
    ("client", &["pipeline", "room", "rtc::core", "rtc::socket"]),
    ("config", &[]),
    ("metrics", &[]),
    ("problem", &[]),
];

/// What no pure core (and nothing of `room`) may name: I/O, async, clocks, and what observes.
const NOT_IN_A_CORE: &[&str] = &[
    "tokio::",
    "axum::",
    "object_store::",
    "reqwest::",
    "metrics::",
    "tracing::",
    "Instant::now",
    "SystemTime::now",
    "Utc::now",
    "Local::now",
    "std::fs",
    "std::net::Udp",
    "std::net::Tcp",
    "std::thread",
    "std::env",
];

struct File {
    path: PathBuf,
    /// Without its tests.
    code: String,
    first_line: String,
}

fn sources() -> Vec<File> {
    let mut files = Vec::new();
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("src is there") {
            let path = entry.expect("readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("readable");
                let is_test = path.file_stem().is_some_and(|s| s == "tests")
                    || path.components().any(|c| c.as_os_str() == "tests");
                let code = match text.find("#[cfg(test)]\nmod ") {
                    _ if is_test => String::new(),
                    Some(end) => text[..end].to_owned(),
                    None => text.clone(),
                };
                let first_line = text.lines().next().unwrap_or_default().to_owned();
                let root = Path::new(env!("CARGO_MANIFEST_DIR"));
                let path = path.strip_prefix(root).expect("inside").to_owned();
                files.push(File {
                    path,
                    code,
                    first_line,
                });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.len() > 10, "no sources found");
    files
}

fn top_module(path: &Path) -> String {
    let name = path.components().nth(1).expect("below src").as_os_str();
    Path::new(name)
        .file_stem()
        .expect("a name")
        .to_string_lossy()
        .into_owned()
}

/// Every `crate::…` path that the code names, `use` or inline, groups spread out one level.
fn named_paths(code: &str) -> Vec<String> {
    let without_comments: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    without_comments
        .split("crate::")
        .skip(1)
        .map(|rest| {
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
            rest[..end.unwrap_or(rest.len())]
                .trim_end_matches(':')
                .to_owned()
        })
        .collect()
}

fn report(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

#[test]
fn each_file_opens_with_what_it_holds() {
    report(
        sources()
            .iter()
            .filter(|file| !file.first_line.starts_with("//! "))
            .map(|file| format!("{} does not open with a `//! ` line", file.path.display()))
            .collect(),
    );
}

#[test]
fn modules_use_only_whom_they_may() {
    let rules: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let mut broken = Vec::new();
    for file in sources() {
        let own = top_module(&file.path);
        if ["main", "lib", "server"].contains(&own.as_str()) {
            continue;
        }
        let Some(allowed) = rules.get(own.as_str()) else {
            broken.push(format!(
                "{}: say in MAY_USE whom `{own}` may use",
                file.path.display()
            ));
            continue;
        };
        for named in named_paths(&file.code) {
            let fine = named == own
                || named.starts_with(&format!("{own}::"))
                || allowed
                    .iter()
                    .any(|a| named == *a || named.starts_with(&format!("{a}::")));
            if !fine {
                broken.push(format!("{} uses crate::{named}", file.path.display()));
            }
        }
    }
    report(broken);
}

#[test]
fn cores_are_pure() {
    let mut broken = Vec::new();
    for file in sources() {
        let own = top_module(&file.path);
        let in_core = file.path.components().any(|c| c.as_os_str() == "core");
        if own != "room" && !in_core {
            continue;
        }
        for word in NOT_IN_A_CORE {
            let named = file
                .code
                .lines()
                .find(|line| !line.trim_start().starts_with("//") && line.contains(word));
            if let Some(line) = named {
                broken.push(format!("{}: {}", file.path.display(), line.trim()));
            }
        }
        for named in named_paths(&file.code) {
            let core = format!("{own}::core");
            let fine = named == "room"
                || named.starts_with("room::")
                || named.starts_with(&core)
                || (own == "vod" && named.starts_with("hls::core"));
            if !fine {
                broken.push(format!("{} uses crate::{named}", file.path.display()));
            }
        }
    }
    report(broken);
}

#[test]
fn codecs_live_in_children_only() {
    let mut broken = Vec::new();
    for file in sources() {
        let path = file.path.to_string_lossy().into_owned();
        let gst = [
            "gst::",
            "gst_app::",
            "gst_video::",
            "gst_base::",
            "gst_rtp::",
            "gstfmp4::",
        ];
        for word in gst {
            if file.code.contains(word) && !path.starts_with("src/pipeline/") {
                broken.push(format!("{path} uses GStreamer ({word})"));
            }
        }
        if file.code.contains("ffmpeg_next") && !path.starts_with("src/vod/finish") {
            broken.push(format!("{path} uses FFmpeg"));
        }
    }
    report(broken);
}
