//! argv → subcommand → exit code.

use std::process::ExitCode;

use amphi::client::load::LoadArgs;
use amphi::client::operate::{KeyArgs, RecordingArgs, RoomArgs};
use amphi::client::publish::PublishArgs;
use amphi::server::{ServeArgs, TokenArgs};
use amphi::vod::finish::FinishArgs;
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
    /// Run the server
    Serve(ServeArgs),
    /// Publish a test picture or a media file by WHIP
    Publish(PublishArgs),
    /// Put load on a server that speaks WHIP and WHEP, and print how it does
    Load(LoadArgs),
    /// Print a token for someone
    Token(TokenArgs),
    /// List, make, start, stop and delete rooms of a running server
    Room(RoomArgs),
    /// List and delete recordings of a running server
    Recording(RecordingArgs),
    /// List, make and delete API keys of a running server
    Key(KeyArgs),
    /// Print config/amphi.toml: every setting, its default and its meaning
    Config,
    /// The child that mixes and encodes a broadcast; started by the server
    #[command(hide = true)]
    Pipeline {
        /// Only say what this machine can decode
        #[arg(long)]
        abilities: bool,
    },
    /// The child that makes recording.mp4; started by the server
    #[command(hide = true)]
    Finish(FinishArgs),
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve(arguments) => amphi::server::serve(arguments),
        Command::Publish(arguments) => amphi::client::publish::run(arguments),
        Command::Load(arguments) => amphi::client::load::run(arguments),
        Command::Token(arguments) => amphi::server::token(arguments),
        Command::Room(arguments) => amphi::client::operate::room(arguments),
        Command::Recording(arguments) => amphi::client::operate::recording(arguments),
        Command::Key(arguments) => amphi::client::operate::key(arguments),
        Command::Config => {
            print!("{}", amphi::config::default_file());
            Ok(())
        }
        Command::Pipeline { abilities } => pipeline(abilities),
        Command::Finish(arguments) => amphi::vod::finish::run(arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("amphi: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(feature = "pipeline")]
fn pipeline(abilities: bool) -> anyhow::Result<()> {
    if abilities {
        return amphi::pipeline::tell_abilities();
    }
    amphi::pipeline::run()
}

#[cfg(not(feature = "pipeline"))]
fn pipeline(_: bool) -> anyhow::Result<()> {
    anyhow::bail!("this amphi was built without the feature `pipeline`, which mixes and encodes")
}
