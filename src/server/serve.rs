//! `amphi serve`: from arguments to a running server, and from a signal to an orderly end.

use std::io::IsTerminal;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::admission::Door;
use super::costs::Costs;
use super::failures::Failures;
use super::gate::{Gate, Gated};
use super::house::House;
use super::rooms::Rooms;
use super::tools::Tools;
use super::{http, schedule, settings};
use crate::config::{Config, LogFormat};
use crate::control::audit::{Audit, put_down};
use crate::control::auth::Authority;
use crate::control::bans::Bans;
use crate::control::caller::identify;
use crate::control::db::Db;
use crate::control::events::{Happened, News};
use crate::control::idempotency::{Idempotency, once};
use crate::control::issuer::Issuer;
use crate::control::origin::{self, Limit, Pace, Proxies};
use crate::control::roles::Roles;
use crate::control::rooms::MadeRooms;
use crate::control::tokens::Revocations;
use crate::control::webhooks::{Webhooks, settle};
use crate::problem::Problem;
use crate::program::ProgramSettings;
use crate::program::core::wire::Abilities;
use crate::room::{Codec, RoomId};
use crate::{control, hls, program, rtc, vod, web};

/// On SIGTERM, broadcasts have this long to get into their recordings. What is not there by then
/// is finished by the next start.
const CLOSE_WITHIN: Duration = Duration::from_secs(50);

#[derive(Debug, Clone, clap::Args)]
pub struct ServeArgs {
    /// Settings: see config/amphi.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// For one's own machine: loopback only, nobody is asked for a token
    #[arg(long)]
    dev: bool,
    /// Where HTTP is served (http.listen)
    #[arg(long, value_name = "ADDR")]
    http: Option<SocketAddr>,
    /// The UDP port of WebRTC (rtc.listen)
    #[arg(long, value_name = "ADDR")]
    rtc: Option<SocketAddr>,
    /// The folder for recordings and the spool (data.dir)
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

/// Runs until SIGTERM or SIGINT. The first one ends broadcasts, finishes uploads, then returns;
/// a second one leaves at once.
pub fn serve(arguments: ServeArgs) -> anyhow::Result<()> {
    let (config, authority, issuer) = resolve(&arguments)?;
    start_log(&config)?;
    let metrics = crate::metrics::install().context("metrics cannot be started")?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async move {
        let rtc = rtc::Rtc::start(settings::rtc(&config, arguments.dev)?)
            .with_context(|| format!("UDP {}: is another server running?", config.rtc.listen))?;
        let listener = TcpListener::bind(config.http.listen)
            .await
            .with_context(|| format!("TCP {}: is another server running?", config.http.listen))?;
        let address = listener.local_addr()?;
        let archive = settings::archive(&config)?;
        let mut program = settings::program(&config)?;
        let layouts: Vec<_> = program.layouts.iter().map(|l| l.name.clone()).collect();
        let codecs = codecs(&mut program).await?;
        let ladders = settings::ladders(&config, &program.ladder)?;
        let ladder_names: Vec<_> = ladders.keys().cloned().collect();
        let failures = Arc::new(Failures::default());
        let news = Arc::new(News::default());
        let db = Db::open(&config.data.database, &config.data.dir).await?;
        // On one's own machine, receivers are there too.
        let allow_private = arguments.dev || config.webhooks.allow_private_addresses;
        let proxies = Proxies::new(&config.http.trusted_proxies);
        let audit = Audit::new(db.clone(), proxies.clone());
        let bans = Arc::new(Bans::open(db.clone()).await?);
        let webhooks = Webhooks::start(db.clone(), &news, allow_private).await?;
        let revocations = Revocations::open(db.clone(), &authority).await?;
        control::keys::load(&db, &authority).await?;
        let roles = Arc::new(Roles::open(db.clone(), authority.clone()).await?);
        let idempotency = Idempotency::open(db.clone()).await?;
        let made = Arc::new(MadeRooms::open(db.clone()).await?);
        let defaults = settings::room(&config, layouts.clone());
        let tools = Arc::new(Tools {
            room: defaults.clone(),
            made: made.clone(),
            rooms_by_use: config.room.by_use,
            max_rooms: config.room.max_rooms,
            ended_for: config.hls.ended_for,
            rtc: rtc.clone(),
            failures: failures.clone(),
            news: news.clone(),
            program,
            ladders,
            costs: Costs::new(config.program.max_cpu_percent),
            broadcasts: TaskTracker::new(),
            hls: settings::hls(&config),
            archive: archive.clone(),
        });
        let rooms = Rooms::new(tools);
        let keeping = tokio::spawn(rooms.clone().keep());
        let metering = tokio::spawn(super::meter::keep(rtc.clone(), rooms.clone(), news.clone()));
        if let Some(issuer) = issuer {
            tokio::spawn(issuer.keep(reqwest::Client::new()));
        }
        if let Some(archive) = archive.clone() {
            let (untold, news) = (webhooks.untold().to_vec(), news.clone());
            let completed = move |room: &RoomId, recording| {
                news.tell(room, Happened::RecordingCompleted { recording });
            };
            let keep_for = config.recording.keep_for;
            tokio::spawn(super::recordings::keep(
                archive, keep_for, untold, completed,
            ));
        }

        let house = Arc::new(House {
            rooms: rooms.clone(),
            rtc: rtc.clone(),
            failures,
            archive: archive.clone(),
            layouts: layouts.clone(),
            ladders: ladder_names.clone(),
            made: made.clone(),
            defaults,
        });
        let door = Arc::new(Door {
            rooms: rooms.clone(),
            authority: authority.clone(),
            bans: bans.clone(),
            pace: Pace::new(if arguments.dev {
                0
            } else {
                config.http.room_joins_per_minute
            }),
        });
        let gate = Arc::new(Gate {
            made: made.clone(),
            authority: authority.clone(),
            bans: bans.clone(),
        });
        let starting = tokio::spawn(schedule::keep(house.clone(), made.clone()));
        let whip = settings::whip(&config, codecs);
        let session = settings::session(&config);
        let api = control::api::routes(house.clone(), roles.clone())
            .merge(control::rooms::routes(
                house.clone(),
                made,
                bans.clone(),
                roles,
            ))
            .merge(control::moderation::routes(house.clone(), bans.clone()))
            .merge(control::recordings::routes(house))
            .merge(control::events::routes(news.clone()))
            .merge(control::webhooks::api::routes(webhooks.clone()))
            .merge(control::tokens::routes(authority.clone(), revocations))
            .merge(control::keys::routes(authority.clone(), db.clone()))
            .merge(control::people::routes(
                db.clone(),
                bans.clone(),
                news.clone(),
            ))
            .merge(control::audit::routes(audit.clone()))
            .layer(axum::middleware::from_fn_with_state(
                webhooks.clone(),
                settle,
            ))
            .layer(axum::middleware::from_fn_with_state(audit, put_down))
            .layer(axum::middleware::from_fn_with_state(idempotency, once))
            .layer(axum::middleware::from_fn_with_state(authority, identify));
        let limited = |per_minute: u32, counts, router: Router| {
            let per_minute = if arguments.dev { 0 } else { per_minute };
            match Limit::new(per_minute, counts, proxies.clone()) {
                Some(of) => router.layer(axum::middleware::from_fn_with_state(of, origin::limit)),
                None => router,
            }
        };
        let doors = Router::new()
            .merge(rtc::whip::routes(door.clone(), rtc.clone(), whip.clone()))
            .merge(rtc::whep::routes(door.clone(), rtc.clone(), whip.clone()))
            .merge(rtc::session::routes(door, rtc.clone(), session));
        let described = control::openapi::described(api, &layouts, &ladder_names);
        let shelf = archive.map(|archive| vod::routes(archive, gate.of_recordings()));
        let router = Router::new()
            .merge(limited(config.http.joins_per_minute, origin::joins, doors))
            .merge(limited(
                config.http.api_per_minute,
                origin::calls,
                described,
            ))
            .merge(shelf.unwrap_or_default())
            .merge(web::routes())
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(|| async { "ok\n" }))
            .route("/metrics", get(move || async move { metrics.render() }))
            .fallback(web::not_found)
            .layer(axum::middleware::map_response(
                crate::problem::instead_of_plain_text,
            ))
            .layer(tower_http::catch_panic::CatchPanicLayer::custom(panicked));
        let stop_http = CancellationToken::new();
        let origin = hls::Origin::new(rooms.clone(), config.hls.max_waiting);
        let front = hls::Front::new(origin, router);
        let gated = Gated::new(gate, front);
        let serving = tokio::spawn(http::serve(listener, gated, stop_http.clone()));

        announce(address, arguments.dev);
        let testing = tokio::spawn(test_addresses(rtc.clone(), arguments.dev));
        wait_for_signal().await?;
        eprintln!("Ending broadcasts and finishing recordings; a second signal leaves at once.");
        tokio::spawn(async {
            let _ = wait_for_signal().await;
            std::process::exit(1);
        });
        if tokio::time::timeout(CLOSE_WITHIN, rooms.close())
            .await
            .is_err()
        {
            warn!("not all recordings are finished; the next start finishes them");
        }
        rtc.shutdown();
        starting.abort();
        keeping.abort();
        metering.abort();
        testing.abort();
        news.close();
        stop_http.cancel();
        let _ = serving.await;
        webhooks.finish().await;
        db.close().await;
        info!("left in order");
        Ok(())
    })
}

fn resolve(arguments: &ServeArgs) -> anyhow::Result<(Config, Authority, Option<Arc<Issuer>>)> {
    let mut config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    if arguments.dev {
        for (flag, address) in [("--http", arguments.http), ("--rtc", arguments.rtc)] {
            if let Some(address) = address.filter(|a| !a.ip().is_loopback()) {
                bail!(
                    "--dev asks nobody for a token, so {flag} {address} must be a loopback address, as 127.0.0.1:{}",
                    address.port()
                );
            }
        }
        config.http.listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        config.rtc.listen.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
    }
    config.http.listen = arguments.http.unwrap_or(config.http.listen);
    config.rtc.listen = arguments.rtc.unwrap_or(config.rtc.listen);
    if let Some(dir) = &arguments.data {
        config.data.dir = dir.clone();
    }
    let issuer = settings::issuer(&config)?;
    let authority = if arguments.dev {
        Authority::Everybody
    } else {
        let (secret, previous) = (&config.auth.secret, &config.auth.previous_secret);
        Authority::with_secrets(secret, previous, issuer.clone()).context(
            "no secret is set, so nobody could be told from anybody. Set one of 32 characters or more:\n  \
             export AMPHI_AUTH_SECRET=$(openssl rand -hex 32)\n\
             (or auth.secret in the file given with --config), then make tokens with `amphi token`.\n\
             To try Amphi on this machine alone: amphi serve --dev",
        )?
    };
    Ok((config, authority, issuer))
}

/// What publishers may send. An encoder that does not work here is replaced by one that does.
async fn codecs(program: &mut ProgramSettings) -> anyhow::Result<Vec<Codec>> {
    let mut abilities = abilities(program).await?;
    if let Some(fault) = abilities.encoder_fault.take() {
        let Some(ladder) = program.ladder.fall_back() else {
            bail!("the video encoder does not work: {fault}");
        };
        warn!(
            fault,
            "program.encoder does not work on this machine: x264 encodes instead"
        );
        program.ladder = ladder;
        abilities = self::abilities(program).await?;
        if let Some(fault) = abilities.encoder_fault {
            bail!("the video encoder does not work: {fault}");
        }
    }
    info!(codecs = ?abilities.codecs, "publishers may send");
    Ok(abilities.codecs)
}

async fn abilities(program: &ProgramSettings) -> anyhow::Result<Abilities> {
    let abilities = program::abilities(program)
        .await
        .context("the pipeline does not run here; is GStreamer 1.22 or later installed?")?;
    if !abilities.missing.is_empty() {
        bail!(
            "GStreamer lacks {}. On Debian: apt install gstreamer1.0-plugins-{{base,good,bad,ugly}} gstreamer1.0-libav",
            abilities.missing.join(", ")
        );
    }
    Ok(abilities)
}

fn start_log(config: &Config) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(settings::log_filter(config))
        .with_context(|| format!("log.filter cannot be {:?}", config.log.filter))?;
    let log = tracing_subscriber::fmt()
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// The line that people and tests wait for.
fn announce(address: SocketAddr, dev: bool) {
    let host = match address.ip() {
        ip if ip.is_unspecified() || (ip.is_loopback() && !dev) => "localhost".to_owned(),
        ip if ip.is_ipv6() => format!("[{ip}]"),
        ip => ip.to_string(),
    };
    println!("Amphi is ready at http://{host}:{}/", address.port());
}

/// Says where clients will be told to connect to, and warns of what cannot work.
async fn test_addresses(rtc: rtc::Rtc, dev: bool) {
    let told = rtc::reach::test(&rtc).await;
    for rtc::reach::Told {
        address,
        answers_udp,
        answers_tcp,
    } in &told
    {
        info!(%address, answers_udp, answers_tcp, "WebRTC clients are told this address");
    }
    for warning in rtc::reach::warnings(&told, dev) {
        warn!("{warning}");
    }
}

async fn wait_for_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

fn panicked(_: Box<dyn std::any::Any + Send>) -> axum::response::Response {
    let detail = "this request met a fault of the server; it is in the server's log";
    axum::response::IntoResponse::into_response(Problem::new(
        axum::http::StatusCode::INTERNAL_SERVER_ERROR,
        detail,
    ))
}
