//! argv → subcommand → exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// One house for the few who speak (WebRTC) and the many who watch (low-latency HLS).
#[derive(Parser)]
#[command(name = "amphi", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print config/amphi.toml: every setting, its default and its meaning.
    Config,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Config => print!("{}", amphi::config::default_file()),
    }
    ExitCode::SUCCESS
}
