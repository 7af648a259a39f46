//! Both ends of a tunnel in this process, on threads of their own.

use mgrok_allocations::count_this_thread_in;
use mgrok_client::Client;
use mgrok_config::{Strictness, load_client_from_str, load_server_from_str};
use mgrok_lab::ports;
use mgrok_server::Server;
use tokio::runtime::{Builder, Runtime};

use crate::ALLOCATOR;

/// The two ends, as [`Counting`] knows them. The test's own threads are 0.
#[derive(Clone, Copy, Debug)]
pub(crate) enum End {
    Server = 1,
    Client = 2,
}

/// Server and client.
pub(crate) const ENDS: [End; 2] = [End::Server, End::Client];

impl End {
    /// A runtime of one thread, which uses its slabs again as a quiet program does.
    fn runtime(self) -> Runtime {
        Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .on_thread_start(move || count_this_thread_in(self as usize))
            .build()
            .unwrap()
    }

    /// The bytes that it holds.
    pub(crate) fn bytes(self) -> isize {
        ALLOCATOR.bytes_of(self as usize)
    }
}

/// Both ends, with the settings that are the default and these.
pub(crate) fn start(server_toml: &str, client_toml: &str) -> [Runtime; 2] {
    let bind = ports::free();
    let server = End::Server.runtime();
    let toml = format!("bindAddr = '127.0.0.1'\nbindPort = {bind}\n{server_toml}");
    let (listening, listens) = std::sync::mpsc::channel();
    server.spawn(async move {
        let config = load_server_from_str(&toml, "the server", Strictness::Strict).unwrap();
        let server = Server::bind(config.config).await.unwrap();
        listening.send(()).unwrap();
        server.run(std::future::pending()).await;
    });
    listens.recv().unwrap();
    let client = End::Client.runtime();
    let toml = format!("serverAddr = '127.0.0.1'\nserverPort = {bind}\n{client_toml}");
    client.spawn(async move {
        let config = load_client_from_str(&toml, "the client", Strictness::Strict).unwrap();
        let client = Client::new(config.config).unwrap();
        client.run(std::future::pending()).await.unwrap();
    });
    [server, client]
}
