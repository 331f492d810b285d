//! A real S3 server for tests, in this process, over HTTP; it can be away for a while.

use std::net::SocketAddr;
use std::path::PathBuf;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use s3s::auth::SimpleAuth;
use s3s::service::S3ServiceBuilder;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub const BUCKET: &str = "house";
pub const KEY: (&str, &str) = ("test-key", "test-secret");

pub struct S3 {
    folder: TempDir,
    pub address: SocketAddr,
    running: Option<JoinSet<()>>,
}

impl S3 {
    pub async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join(BUCKET)).expect("a bucket");
        let mut server = Self {
            folder,
            address: ([127, 0, 0, 1], 0).into(),
            running: None,
        };
        server.come_back().await;
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its connections break, and nobody listens any more.
    pub async fn go_away(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.shutdown().await;
        }
    }

    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.address).await.expect("a port");
        self.address = listener.local_addr().expect("bound");
        let mut running = JoinSet::new();
        running.spawn(run(listener, self.folder.path().to_owned()));
        self.running = Some(running);
    }
}

async fn run(listener: TcpListener, folder: PathBuf) {
    let files = s3s_fs::FileSystem::new(folder).expect("its folder");
    let service = {
        let mut builder = S3ServiceBuilder::new(files);
        builder.set_auth(SimpleAuth::from_single(KEY.0, KEY.1));
        builder.build()
    };
    // Ends its connections when it is dropped.
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        let service = service.clone();
        connections.spawn(async move {
            let http = Builder::new(TokioExecutor::new());
            let _ = http.serve_connection(TokioIo::new(socket), service).await;
        });
    }
}
