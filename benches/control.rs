//! Whether lists answer as fast with much as with little: 10,000 rooms and 1,000,000 rows of audit beside
//! ten of each. `cargo bench --bench control`.

use std::time::{Duration, Instant};

#[path = "../tests/support/mod.rs"]
mod support;

use reqwest::blocking::Client;
use sqlx::{Connection, SqliteConnection};
use support::Server;

const ROOMS: u32 = 10_000;
const ENTRIES: u32 = 1_000_000;
const FEW: u32 = 10;
const ASKED: usize = 300;

const PAGES: [(&str, &str); 6] = [
    ("rooms, the first page", "/api/v1/rooms"),
    ("rooms, from the middle", "/api/v1/rooms?cursor=room-05000"),
    ("one room", "/api/v1/rooms/room-00003"),
    ("audit, the newest", "/api/v1/audit"),
    (
        "audit, from the middle",
        "/api/v1/audit?cursor=0007a120-0000-7000-8000-000000000000",
    ),
    ("audit of a room", "/api/v1/audit?room=room-00003"),
];

fn main() {
    let (few, few_took) = filled(FEW, FEW);
    let (many, many_took) = filled(ROOMS, ENTRIES);
    println!(
        "| answered in ms, p50 (p99) of {ASKED} | {FEW} of each | {ROOMS} rooms, {ENTRIES} entries | ratio of p50 |"
    );
    println!("|---|---|---|---|");
    let client = Client::new();
    for (what, path) in PAGES {
        let ([little, worst], [much, worst_of_much]) = (
            answer_ms(&client, &few, path),
            answer_ms(&client, &many, path),
        );
        let ratio = much / little;
        println!(
            "| {what} | {little:.2} ({worst:.2}) | {much:.2} ({worst_of_much:.2}) | {ratio:.1} |"
        );
    }
    println!(
        "| start of the server | {:.0} | {:.0} | {:.1} |",
        few_took.as_secs_f64() * 1000.0,
        many_took.as_secs_f64() * 1000.0,
        many_took.as_secs_f64() / few_took.as_secs_f64()
    );
}

/// A server with so many rooms and entries, and how long it took to start on them.
fn filled(rooms: u32, entries: u32) -> (Server, Duration) {
    let mut server = Server::start();
    let database = server.data().join("amphi.db");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let url = format!("sqlite://{}", database.display());
        let mut database = SqliteConnection::connect(&url).await.expect("the database");
        for (statement, most) in [
            (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
                 INSERT INTO rooms (id, settings, version, created_ms)
                 SELECT printf('room-%05d', i), '{}', 1, i FROM n",
                rooms,
            ),
            (
                "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < $1)
                 INSERT INTO audit (id, at_ms, identity, action, room, status, before, after)
                 SELECT printf('%08x-0000-7000-8000-000000000000', i), i, 'crm',
                        'PATCH /api/v1/rooms/{room}/broadcast', printf('room-%05d', i % 10000), 200,
                        '{\"layout\":\"grid\"}', '{\"layout\":\"solo\"}' FROM n",
                entries,
            ),
        ] {
            let filled = sqlx::query(statement)
                .bind(most)
                .execute(&mut database)
                .await;
            filled.expect("filled");
        }
        database.close().await.expect("closed");
    });
    let begun = Instant::now();
    server.kill_and_restart();
    (server, begun.elapsed())
}

/// The median and the 99th percentile.
fn answer_ms(client: &Client, server: &Server, path: &str) -> [f64; 2] {
    let url = server.url(path);
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
