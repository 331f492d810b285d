//! `amphi token`: a token for someone, signed with the server's secret.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use uuid::Uuid;

use crate::config::Config;
use crate::control::auth::{Authority, Claims, Scope, expires_in};
use crate::room::{Role, TrackSource};

#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    /// The room it opens; `*` for every room
    #[arg(long)]
    room: String,
    /// What its holder may do
    #[arg(long, default_value = "speaker", value_parser = PossibleValuesParser::new(ROLES).try_map(|role| role.parse::<Role>()))]
    role: Role,
    /// What they may publish, if not all that the role may; once for each: camera, microphone, screen or
    /// screen-audio
    #[arg(long, value_name = "SOURCE")]
    publish: Vec<String>,
    /// Who its holder is, the same at every visit
    #[arg(long)]
    identity: Option<String>,
    /// The name that others see
    #[arg(long)]
    name: Option<String>,
    /// How long it is good for, as 30m, 12h or 7d
    #[arg(long, default_value = "12h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// Settings of the server: where the secret is, unless AMPHI_AUTH_SECRET is set
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

const ROLES: [&str; 4] = ["host", "speaker", "viewer", "producer"];

/// Prints the token alone, so that a script can take it.
pub fn token(arguments: TokenArgs) -> anyhow::Result<()> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let authority = Authority::with_secrets(&config.auth.secret, "", None).context(
        "no secret is set: export AMPHI_AUTH_SECRET as for the server, or give --config FILE",
    )?;
    let publish = arguments.publish.iter().map(|source| source.parse());
    let publish = publish.collect::<Result<BTreeSet<TrackSource>, _>>()?;
    let claims = Claims {
        jti: Some(Uuid::now_v7().to_string()),
        sub: arguments.identity,
        name: arguments.name,
        room: Scope::try_from(arguments.room)?,
        role: arguments.role,
        publish: (!publish.is_empty()).then_some(publish),
        exp: expires_in(arguments.ttl),
    };
    println!(
        "{}",
        authority
            .issue(&claims)
            .context("the token could not be signed")?
    );
    Ok(())
}
