//! `amphi token`: a token for someone, signed with the server's secret.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use uuid::Uuid;

use crate::config::Config;
use crate::control::auth::{Authority, Claims, Scope, expires_in};
use crate::room::Role;

#[derive(Debug, Clone, clap::Args)]
pub struct TokenArgs {
    /// The room it opens; `*` for every room
    #[arg(long)]
    room: String,
    /// What its holder may do
    #[arg(long, value_enum, default_value = "speaker")]
    role: RoleName,
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

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum RoleName {
    Host,
    Speaker,
    Viewer,
    Producer,
}

/// Prints the token alone, so that a script can take it.
pub fn token(arguments: TokenArgs) -> anyhow::Result<()> {
    let config = Config::load(arguments.config.as_deref(), std::env::vars())?;
    let authority = Authority::with_secrets(&config.auth.secret, "").context(
        "no secret is set: export AMPHI_AUTH_SECRET as for the server, or give --config FILE",
    )?;
    let claims = Claims {
        jti: Some(Uuid::now_v7().to_string()),
        sub: arguments.identity,
        name: arguments.name,
        room: Scope::try_from(arguments.room)?,
        role: match arguments.role {
            RoleName::Host => Role::Host,
            RoleName::Speaker => Role::Speaker,
            RoleName::Viewer => Role::Viewer,
            RoleName::Producer => Role::Producer,
        },
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
