//! Whether lists answer as fast with much as with little: 10,000 rooms and 1,000,000 rows of audit beside
//! ten of each, pages of ten, in SQLite and in Postgres. `cargo bench --bench control`.

use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use reqwest::blocking::Client;
use sqlx::{AnyConnection, AssertSqlSafe, Connection};
use support::Server;
use support::postgres::Postgres;

const ROOMS: u32 = 10_000;
const ENTRIES: u32 = 1_000_000;
const FEW: u32 = 10;
const ASKED: usize = 300;

/// What is asked of the server with few, and of the one with many.
const PAGES: [(&str, &str, &str); 6] = [
    ("rooms, the first page", "rooms?", "rooms?"),
    (
        "rooms, from the middle",
        "rooms?cursor=room-00000&",
        "rooms?cursor=room-05000&",
    ),
    ("one room", "rooms/room-00003?", "rooms/room-00003?"),
    ("audit, the newest", "audit?", "audit?"),
    (
        "audit, from the middle",
        "audit?cursor=0000ffff-0000-7000-8000-000000000000&",
        "audit?cursor=0007a120-0000-7000-8000-000000000000&",
    ),
    (
        "audit of a room",
        "audit?room=room-00001&",
        "audit?room=room-00001&",
    ),
];

fn main() {
    println!(
        "| answered in ms, p50 (p99) of {ASKED} | {FEW} of each | {ROOMS} rooms, {ENTRIES} entries | ratio of p50 |"
    );
    println!("|---|---|---|---|");
    compare("SQLite", None, None);
    let (little, much) = (Postgres::start(), Postgres::start());
    compare("Postgres", Some(&little.url()), Some(&much.url()));
}

fn compare(backend: &str, little: Option<&str>, much: Option<&str>) {
    let (few, few_took) = filled(FEW, FEW, little);
    let (many, many_took) = filled(ROOMS, ENTRIES, much);
    let client = Client::new();
    for (what, of_few, of_many) in PAGES {
        let ([little, worst], [much, worst_of_much]) = (
            answer_ms(&client, &few, of_few),
            answer_ms(&client, &many, of_many),
        );
        let ratio = much / little;
        println!(
            "| {backend}: {what} | {little:.2} ({worst:.2}) | {much:.2} ({worst_of_much:.2}) | {ratio:.2} |"
        );
    }
    println!(
        "| {backend}: start of the server | {:.0} | {:.0} | {:.2} |",
        few_took.as_secs_f64() * 1000.0,
        many_took.as_secs_f64() * 1000.0,
        many_took.as_secs_f64() / few_took.as_secs_f64()
    );
}

/// A server with so many rooms and entries, and how long it took to start on them.
fn filled(rooms: u32, entries: u32, postgres: Option<&str>) -> (Server, Duration) {
    let mut server = match postgres {
        Some(url) => Server::start_with(&[], &[("AMPHI_DATA_DATABASE", url)]),
        None => Server::start(),
    };
    let sqlite = format!("sqlite://{}", server.data().join("amphi.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        sqlx::any::install_default_drivers();
        let database = AnyConnection::connect(postgres.unwrap_or(&sqlite)).await;
        let mut database = database.expect("the database");
        // As many of each room as a page has, or more.
        let of_each = (entries / 100).max(1);
        let numbers = |most: u32| match postgres {
            Some(_) => format!("SELECT i FROM generate_series(1, {most}) AS i"),
            None => format!(
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {most})
                 SELECT i FROM n"
            ),
        };
        let (padded, hex) = match postgres {
            Some(_) => ("lpad((%)::text, 5, '0')", "lpad(to_hex(%), 8, '0')"),
            None => ("printf('%05d', %)", "printf('%08x', %)"),
        };
        let of = |form: &str, what: &str| match form.rfind('%') {
            Some(at) => form[..at].to_owned() + what + &form[at + 1..],
            None => form.to_owned(),
        };
        let (room, of_room) = (of(padded, "i"), of(padded, &format!("1 + i % {of_each}")));
        let id = of(hex, "i");
        for statement in [
            format!(
                "INSERT INTO rooms (id, settings, version, created_ms)
                 SELECT 'room-' || {room}, '{{}}', 1, i FROM ({}) AS numbers",
                numbers(rooms)
            ),
            format!(
                "INSERT INTO audit (id, at_ms, identity, action, room, status, before, after)
                 SELECT {id} || '-0000-7000-8000-000000000000', i, 'crm',
                        'PATCH /api/v1/rooms/{{room}}/broadcast', 'room-' || {of_room}, 200,
                        '{{\"layout\":\"grid\"}}', '{{\"layout\":\"solo\"}}'
                 FROM ({}) AS numbers",
                numbers(entries)
            ),
            // As each does by itself after a while.
            "ANALYZE".to_owned(),
        ] {
            let filled = sqlx::query(AssertSqlSafe(statement));
            filled.execute(&mut database).await.expect("filled");
        }
        database.close().await.expect("closed");
    });
    let begun = Instant::now();
    server.kill_and_restart();
    (server, begun.elapsed())
}

/// The median and the 99th percentile.
fn answer_ms(client: &Client, server: &Server, path: &str) -> [f64; 2] {
    let url = server.url(&format!("/api/v1/{path}limit={FEW}"));
    let ask = || {
        let begun = Instant::now();
        let answer = client.get(&url).send().expect("answered");
        assert!(answer.status().is_success(), "{url}: {}", answer.status());
        answer.bytes().expect("read");
        begun.elapsed().as_secs_f64() * 1000.0
    };
    ask();
    let mut took: Vec<f64> = (0..ASKED).map(|_| ask()).collect();
    took.sort_by(f64::total_cmp);
    [took[ASKED / 2], took[ASKED * 99 / 100]]
}
