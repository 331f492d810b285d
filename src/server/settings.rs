//! The settings table's values onto each part's own settings.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::config::Config;
use crate::control::issuer::{Issuer, IssuerSettings};
use crate::control::rooms::{Begins, RoomSettings};
use crate::program::core::files::Files;
use crate::program::core::ladder::Ladder;
use crate::program::core::layout;
use crate::room::Codec;
use crate::{hls, program, room, rtc, vod};

const DAY: Duration = Duration::from_secs(86_400);

/// Chatter of crates that says nothing to an operator: rtc-dtls warns 18 times a handshake.
const QUIET: &str = "rtc_dtls=error,rtc_srtp=error,turn_server_proto=error,stun_proto=off";

pub fn log_filter(config: &Config) -> String {
    format!("{},{QUIET}", config.log.filter)
}

pub fn room(config: &Config, layouts: Vec<String>) -> room::Settings {
    room::Settings {
        max_participants: config.room.max_participants,
        away_for: config.room.away_for,
        auto_broadcast: true,
        layouts,
        layout: room::FIRST_LAYOUT.to_owned(),
        transition: room::Transition::default(),
        passthrough: config.program.passthrough,
        ladder: None,
        record: true,
        private: false,
        keep_for: None,
    }
}

/// What was set for a room, over what holds for all.
pub fn of_room(all: &room::Settings, made: &RoomSettings) -> room::Settings {
    room::Settings {
        max_participants: made
            .max_participants
            .map_or(all.max_participants, usize::from),
        away_for: all.away_for,
        auto_broadcast: made.broadcast == Begins::Auto,
        layouts: all.layouts.clone(),
        layout: made.layout.clone(),
        transition: made.transition,
        passthrough: made.passthrough.unwrap_or(all.passthrough),
        ladder: made.ladder.clone(),
        record: made.record,
        private: made.private,
        keep_for: made.keep_days.map(|days| DAY * u32::from(days)),
    }
}

/// Who else makes tokens, if anybody.
pub fn issuer(config: &Config) -> anyhow::Result<Option<Arc<Issuer>>> {
    let auth = &config.auth;
    if auth.jwks_url.is_empty() {
        return Ok(None);
    }
    for (key, value) in [("issuer", &auth.issuer), ("audience", &auth.audience)] {
        if value.is_empty() {
            anyhow::bail!(
                "auth.jwks_url is set, and auth.{key} is not: without it, tokens that were made for others would be good here"
            );
        }
    }
    Ok(Some(Arc::new(Issuer::new(IssuerSettings {
        jwks_url: auth.jwks_url.parse().context("auth.jwks_url")?,
        issuer: auth.issuer.clone(),
        audience: auth.audience.clone(),
        claims_prefix: auth.claims_prefix.clone(),
    }))))
}

pub fn rtc(config: &Config, dev: bool) -> anyhow::Result<rtc::Settings> {
    let ice_servers = config.rtc.ice_servers.iter().map(|server| server.parse());
    let ice_servers: Vec<rtc::IceServer> = ice_servers
        .collect::<Result<_, String>>()
        .map_err(anyhow::Error::msg)
        .context("rtc.ice_servers")?;
    let needs_secret = ice_servers.iter().find(|server| server.needs_credential());
    if let Some(server) = needs_secret.filter(|_| config.rtc.turn_secret.is_empty()) {
        anyhow::bail!(
            "rtc.ice_servers: {} needs a user and password (turn:user:password@host:port), or rtc.turn_secret",
            server.url
        );
    }
    let defaults = rtc::Settings::default();
    Ok(rtc::Settings {
        bind: config.rtc.listen,
        dual_stack: matches!(config.rtc.listen.ip(), IpAddr::V6(ip) if ip.is_unspecified()),
        public_addresses: public_addresses(config)?,
        loopback: dev,
        tcp: config.rtc.tcp,
        turn: config.rtc.turn,
        turn_secret: match config.rtc.turn_secret.as_str() {
            "" => defaults.turn_secret.clone(),
            secret => secret.to_owned(),
        },
        ice_servers,
        workers: match config.rtc.workers {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        },
        max_connections: config.rtc.max_connections,
        ..defaults
    })
}

/// Those that are set, or the one that the STUN server sees.
fn public_addresses(config: &Config) -> anyhow::Result<Vec<IpAddr>> {
    let (set, server) = (&config.rtc.public_addresses, &config.rtc.stun_server);
    if !set.is_empty() || server.is_empty() {
        return Ok(set.clone());
    }
    let seen = rtc::reach::public_address(server).with_context(|| {
        format!("rtc.stun_server: {server} was asked for this server's public address; set rtc.public_addresses to do without it")
    })?;
    Ok(vec![seen])
}

pub fn whip(config: &Config, codecs: Vec<Codec>) -> rtc::whip::Settings {
    rtc::whip::Settings {
        codecs,
        start_bitrate_kbps: config.rtc.start_bitrate_kbps,
    }
}

pub fn session(config: &Config) -> rtc::session::Settings {
    rtc::session::Settings {
        resume_within: config.room.away_for,
    }
}

pub fn program(config: &Config) -> anyhow::Result<program::ProgramSettings> {
    let folder = &config.program.pipelines;
    let folder = (!folder.as_os_str().is_empty()).then_some(folder.as_path());
    let files = Files {
        folder,
        read: &|file| std::fs::read(file).ok(),
    };
    Ok(program::ProgramSettings {
        executable: std::env::current_exe().context("where this program is")?,
        ladder: Ladder::load(&files, &config.program.ladder, &config.program.encoder)?,
        layouts: layout::load_all(&files, &own(folder, "layouts")?)?.into(),
        segment: config.program.segment,
        part: config.program.part,
        max_memory_bytes: config.program.max_memory_mb << 20,
        auto_gain: config.program.auto_gain,
    })
}

/// All that a room may ask for, with the encoder that works: those built in, and the operator's own.
pub fn ladders(config: &Config, works: &Ladder) -> anyhow::Result<BTreeMap<String, Ladder>> {
    let folder = &config.program.pipelines;
    let folder = (!folder.as_os_str().is_empty()).then_some(folder.as_path());
    let files = Files {
        folder,
        read: &|file| std::fs::read(file).ok(),
    };
    let names = Ladder::names().map(str::to_owned);
    let names = names.chain(own(folder, "ladders")?);
    names
        .map(|name| {
            let ladder = Ladder::load(&files, &name, &config.program.encoder)?;
            Ok((name, ladder.with_encoder_of(works)))
        })
        .collect()
}

/// The names of the files of a kind in the operator's folder.
fn own(folder: Option<&Path>, kind: &str) -> anyhow::Result<Vec<String>> {
    let Some(folder) = folder.map(|folder| folder.join(kind)) else {
        return Ok(Vec::new());
    };
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    for entry in entries {
        let path = entry.with_context(|| folder.display().to_string())?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            names.extend(stem.map(str::to_owned));
        }
    }
    names.sort();
    Ok(names)
}

pub fn hls(config: &Config) -> hls::Settings {
    hls::Settings {
        segment: config.program.segment,
        part: config.program.part,
        window: config.hls.window,
        max_waiting: config.hls.max_waiting,
        ..hls::Settings::default()
    }
}

pub fn hls_renditions(ladder: &Ladder) -> Vec<hls::Rendition> {
    let videos = ladder.video.iter().map(|v| {
        hls::Rendition::video(
            &v.name,
            v.width_px,
            v.height_px,
            f64::from(ladder.fps),
            v.bitrate_bps.into(),
        )
    });
    let audio = hls::Rendition::audio(&ladder.audio.name, ladder.audio.bitrate_bps.into());
    videos.chain([audio]).collect()
}

pub fn vod_renditions(ladder: &Ladder) -> Vec<vod::RenditionInfo> {
    let videos = ladder.video.iter().map(|v| vod::RenditionInfo {
        name: v.name.clone(),
        kind: vod::RenditionKind::Video {
            width_px: v.width_px,
            height_px: v.height_px,
            fps: f64::from(ladder.fps),
        },
        declared_bitrate_bps: v.bitrate_bps.into(),
    });
    let audio = vod::RenditionInfo {
        name: ladder.audio.name.clone(),
        kind: vod::RenditionKind::Audio,
        declared_bitrate_bps: ladder.audio.bitrate_bps.into(),
    };
    videos.chain([audio]).collect()
}

/// `None` when nothing is to be recorded.
pub fn archive(config: &Config) -> anyhow::Result<Option<vod::Archive>> {
    let recording = &config.recording;
    if !recording.enabled {
        return Ok(None);
    }
    let location = match recording.store.strip_prefix("s3://") {
        Some(place) => {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let keys = (
                recording.s3_access_key_id.clone(),
                recording.s3_secret_access_key.clone(),
            );
            vod::StoreLocation::S3 {
                bucket: bucket.to_owned(),
                prefix: prefix.to_owned(),
                endpoint: recording.s3_endpoint.clone(),
                region: recording.s3_region.clone(),
                credentials: Some(keys).filter(|(id, _)| !id.is_empty()),
            }
        }
        None if recording.store.is_empty() => vod::StoreLocation::Folder(config.data.dir.clone()),
        None => vod::StoreLocation::Folder(recording.store.clone().into()),
    };
    let finish = cfg!(feature = "finish").then_some(vod::FinishSettings {
        executable: std::env::current_exe().context("where this program is")?,
        folder: config.data.dir.join("finishing"),
    });
    let settings = vod::Settings {
        location,
        spool: vod::SpoolSettings {
            folder: config.data.dir.join("spool"),
            max_bytes: recording.spool_max_mb << 20,
        },
        finish,
    };
    Ok(Some(
        vod::Archive::open(&settings).context("recording.store")?,
    ))
}
