//! Asks a child what this machine can decode and encode, before the first publisher comes.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use super::ProgramSettings;
use super::core::wire::{self, Abilities, LENGTH};

/// GStreamer looks through its plugins the first time.
const WITHIN: Duration = Duration::from_secs(30);

/// # Errors
/// When the child cannot be started, or says nothing.
pub async fn abilities(settings: &ProgramSettings) -> std::io::Result<Abilities> {
    let mut child = Command::new(&settings.executable)
        .args(["pipeline", "--abilities"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let asking = async {
        let mut out = Vec::new();
        wire::write(&settings.ladder, &mut out).map_err(std::io::Error::other)?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(&out).await?;
        }
        let mut answer = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut answer).await?;
        }
        let status = child.wait().await?;
        let body = answer.get(LENGTH..).filter(|_| status.success());
        let body = body.ok_or_else(|| std::io::Error::other(format!("it ended with {status}")))?;
        wire::read(body).map_err(std::io::Error::other)
    };
    tokio::time::timeout(WITHIN, asking).await?
}
