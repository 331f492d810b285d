//! `amphi room`, `amphi recording` and `amphi key`: the API at an operator's fingers.

use std::io::{ErrorKind, Write};
use std::time::Duration;

use anyhow::{Context, bail};
use reqwest::{Client, Method, StatusCode, Url};
use serde_json::{Map, Value, json};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Which server, and who asks.
#[derive(Debug, Clone, clap::Args)]
struct At {
    /// Where the server is
    #[arg(long, global = true, default_value = "http://localhost:8080")]
    server: Url,
    /// A host's or producer's token; a server in --dev asks for none
    #[arg(long, global = true, env = "AMPHI_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

#[derive(Debug, Clone, clap::Args)]
pub struct RoomArgs {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    command: RoomCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum RoomCommand {
    /// All rooms, a line each
    List {
        /// Those on air
        #[arg(long)]
        live: bool,
    },
    /// All about one, as JSON
    Show { room: String },
    /// Makes one, or sets it anew
    Make {
        room: String,
        /// Broadcasts begin when they are told to, not with the first who publishes
        #[arg(long)]
        manual: bool,
        /// Broadcasts are not recorded
        #[arg(long)]
        no_record: bool,
        /// Who watches needs a token for it
        #[arg(long)]
        private: bool,
        /// How programs are arranged at first
        #[arg(long)]
        layout: Option<String>,
        /// The renditions, as default, full-hd or small
        #[arg(long)]
        ladder: Option<String>,
        /// For so many days recordings are kept
        #[arg(long)]
        keep_days: Option<u16>,
        /// Participants at most
        #[arg(long)]
        max_participants: Option<u16>,
    },
    /// Goes live
    Start { room: String },
    /// Ends the broadcast
    Stop { room: String },
    /// Who is there, a line each
    Participants { room: String },
    /// Takes someone out
    Remove {
        room: String,
        participant: String,
        /// They may not come back
        #[arg(long)]
        ban: bool,
    },
    /// Sends all away; recordings stay
    Delete { room: String },
}

#[derive(Debug, Clone, clap::Args)]
pub struct RecordingArgs {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    command: RecordingCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum RecordingCommand {
    /// All recordings, a line each
    List,
    /// Deletes one, for good
    Delete { recording: String },
}

/// `amphi room`
pub fn room(arguments: RoomArgs) -> anyhow::Result<()> {
    let api = Api::new(arguments.at)?;
    run(async move {
        match arguments.command {
            RoomCommand::List { live } => {
                let query = [("live", live.then_some("true"))];
                api.print_all(&["rooms"], &query, |room| {
                    let state = match room["live"] == true {
                        true => "live",
                        false => "-",
                    };
                    let made = if room["created_at"].is_null() {
                        "by use"
                    } else {
                        "made"
                    };
                    format!(
                        "{}\t{state}\t{made}\t{} participants\t{}",
                        text(&room["id"]),
                        room["participants"],
                        text(&room["layout"])
                    )
                })
                .await
            }
            RoomCommand::Show { room } => {
                let found = api.ask(Method::GET, &["rooms", &room], &[], None).await?;
                say(format!("{found:#}"))
            }
            RoomCommand::Make {
                room,
                manual,
                no_record,
                private,
                layout,
                ladder,
                keep_days,
                max_participants,
            } => {
                let mut settings = Map::new();
                for (key, value) in [
                    ("record", Some(json!(!no_record))),
                    ("private", Some(json!(private))),
                    ("broadcast", manual.then(|| json!("manual"))),
                    ("layout", layout.map(Value::from)),
                    ("ladder", ladder.map(Value::from)),
                    ("keep_days", keep_days.map(Value::from)),
                    ("max_participants", max_participants.map(Value::from)),
                ] {
                    if let Some(value) = value {
                        settings.insert(key.to_owned(), value);
                    }
                }
                let body = Some(settings.into());
                let made = api.ask(Method::PUT, &["rooms", &room], &[], body).await?;
                say(format!("{made:#}"))
            }
            RoomCommand::Start { room } => {
                let path = ["rooms", &room, "broadcast"];
                let started = api.ask(Method::POST, &path, &[], None).await?;
                say(text(&started["id"]))
            }
            RoomCommand::Stop { room } => {
                let path = ["rooms", &room, "broadcast"];
                api.ask(Method::DELETE, &path, &[], None).await.map(drop)
            }
            RoomCommand::Participants { room } => {
                let path = ["rooms", &room, "participants"];
                api.print_all(&path, &[], |one| {
                    let [id, name, role, presence] =
                        ["id", "name", "role", "presence"].map(|field| text(&one[field]));
                    format!("{id}\t{name}\t{role}\t{presence}")
                })
                .await
            }
            RoomCommand::Remove {
                room,
                participant,
                ban,
            } => {
                let path = ["rooms", &room, "participants", &participant];
                let query = [("ban", ban.then_some("true"))];
                api.ask(Method::DELETE, &path, &query, None).await.map(drop)
            }
            RoomCommand::Delete { room } => {
                let path = ["rooms", room.as_str()];
                api.ask(Method::DELETE, &path, &[], None).await.map(drop)
            }
        }
    })
}

#[derive(Debug, Clone, clap::Args)]
pub struct KeyArgs {
    #[command(flatten)]
    at: At,
    #[command(subcommand)]
    command: KeyCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum KeyCommand {
    /// All API keys, but for themselves, a line each
    List,
    /// Makes one, and prints it, this once
    Make {
        /// What it is for
        name: String,
        /// The room it opens; `*` for every room
        #[arg(long)]
        room: String,
        /// What its holder may do
        #[arg(long, default_value = "producer")]
        role: String,
    },
    /// Makes one good for nothing
    Delete { key: String },
}

/// `amphi key`
pub fn key(arguments: KeyArgs) -> anyhow::Result<()> {
    let api = Api::new(arguments.at)?;
    run(async move {
        match arguments.command {
            KeyCommand::List => {
                api.print_all(&["keys"], &[], |one| {
                    let [id, room, role, name] =
                        ["id", "room", "role", "name"].map(|field| text(&one[field]));
                    format!("{id}\t{room}\t{role}\t{name}")
                })
                .await
            }
            KeyCommand::Make { name, room, role } => {
                let body = json!({"name": name, "room": room, "role": role});
                let made = api.ask(Method::POST, &["keys"], &[], Some(body)).await?;
                say(text(&made["key"]))
            }
            KeyCommand::Delete { key } => {
                let path = ["keys", key.as_str()];
                api.ask(Method::DELETE, &path, &[], None).await.map(drop)
            }
        }
    })
}

/// `amphi recording`
pub fn recording(arguments: RecordingArgs) -> anyhow::Result<()> {
    let api = Api::new(arguments.at)?;
    run(async move {
        match arguments.command {
            RecordingCommand::List => {
                api.print_all(&["recordings"], &[], |one| {
                    let [id, room, began, state] =
                        ["id", "room", "started_at", "state"].map(|field| text(&one[field]));
                    let seconds = one["duration_s"].as_f64().unwrap_or_default();
                    format!("{id}\t{room}\t{began}\t{seconds:.0} s\t{state}")
                })
                .await
            }
            RecordingCommand::Delete { recording } => {
                let path = ["recordings", recording.as_str()];
                api.ask(Method::DELETE, &path, &[], None).await.map(drop)
            }
        }
    })
}

fn run(work: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(work)
}

/// A line; who reads no further, as `head`, has what they wanted.
fn say(line: String) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{line}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        said => Ok(said?),
    }
}

/// On a terminal, a name is not to do what its characters may do there.
fn text(value: &Value) -> String {
    let text = value.as_str().unwrap_or_default();
    text.chars().filter(|c| !c.is_control()).collect()
}

struct Api {
    at: At,
    client: Client,
}

type Query<'a> = [(&'a str, Option<&'a str>)];

impl Api {
    fn new(at: At) -> anyhow::Result<Self> {
        if at.server.cannot_be_a_base() {
            bail!("--server must be a URL, as http://localhost:8080");
        }
        let client = Client::builder().timeout(ANSWER_WITHIN).build()?;
        Ok(Self { at, client })
    }

    /// Of what has several pages, all of them.
    async fn print_all(
        &self,
        path: &[&str],
        query: &Query<'_>,
        line: impl Fn(&Value) -> String,
    ) -> anyhow::Result<()> {
        let mut cursor: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("cursor", cursor.as_deref()));
            let page = self.ask(Method::GET, path, &query, None).await?;
            for item in page["items"].as_array().into_iter().flatten() {
                say(line(item))?;
            }
            match page["next"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => return Ok(()),
            }
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &[&str],
        query: &Query<'_>,
        body: Option<Value>,
    ) -> anyhow::Result<Value> {
        let mut url = self.at.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        for (name, value) in query {
            if let Some(value) = value {
                url.query_pairs_mut().append_pair(name, value);
            }
        }
        let mut request = self.client.request(method, url);
        if let Some(token) = &self.at.token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request
            .send()
            .await
            .with_context(|| format!("{} does not answer", self.at.server))?;
        let status = answer.status();
        let bytes = answer.bytes().await?;
        let answer: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let detail = match text(&answer["detail"]) {
            detail if detail.is_empty() => status.to_string(),
            detail => detail,
        };
        match status {
            StatusCode::UNAUTHORIZED => bail!("{detail} (--token, or AMPHI_TOKEN)"),
            _ => bail!("{detail}"),
        }
    }
}
