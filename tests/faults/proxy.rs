//! A TCP proxy that can do to a connection what a network does: cut it, stall it, delay it, throttle it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until};

/// What happens to bytes on their way in one direction.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Flow {
    /// Nothing.
    Pass,
    /// They stay where they are.
    Stall,
    /// They arrive so much later.
    Delay(Duration),
    /// So many a second get through.
    Throttle(u64),
}

/// What happens to a connection.
#[derive(Debug, Clone, Copy)]
struct ProxyState {
    up: Flow,
    down: Flow,
    refuse: bool,
    /// Connections of an earlier number are reset.
    cut: u64,
    /// Connections of an earlier number stall for ever, as if their other end were gone.
    frozen: u64,
}

/// Listens on a port of loopback and forwards to a server. Ends, and resets all, when it is dropped.
pub(crate) struct Proxy {
    port: u16,
    state: watch::Sender<ProxyState>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy to a port of loopback; everything passes.
    pub(crate) async fn to(server: u16) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (state, states) =
            watch::channel(ProxyState { up: Flow::Pass, down: Flow::Pass, refuse: false, cut: 0, frozen: 0 });
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(connection(client, server, states.clone()));
            }
        });
        Ok(Self { port, state, task })
    }

    /// Where clients connect.
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// From clients to the server, for all connections, until told otherwise.
    pub(crate) fn up(&self, flow: Flow) {
        self.state.send_modify(|state| state.up = flow);
    }

    /// From the server to clients.
    pub(crate) fn down(&self, flow: Flow) {
        self.state.send_modify(|state| state.down = flow);
    }

    /// Both.
    pub(crate) fn both(&self, flow: Flow) {
        self.state.send_modify(|state| (state.up, state.down) = (flow, flow));
    }

    /// Resets all connections. New ones pass.
    pub(crate) fn cut(&self) {
        self.state.send_modify(|state| state.cut += 1);
    }

    /// Whether new connections are reset.
    pub(crate) fn refuse(&self, refuse: bool) {
        self.state.send_modify(|state| state.refuse = refuse);
    }

    /// Leaves all connections half open: nothing gets through and nobody is told. New ones pass.
    pub(crate) fn freeze(&self) {
        self.state.send_modify(|state| state.frozen += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn connection(client: TcpStream, server: u16, mut states: watch::Receiver<ProxyState>) {
    let born = *states.borrow_and_update();
    // What is dropped then is reset, not closed.
    let _ = client.set_zero_linger();
    if born.refuse {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else { return };
    let _ = (server.set_zero_linger(), server.set_nodelay(true), client.set_nodelay(true));
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let flow = |pick: fn(&ProxyState) -> Flow| {
        let states = states.clone();
        Arc::new(move || {
            let state = *states.borrow();
            if state.frozen > born.frozen { Flow::Stall } else { pick(&state) }
        })
    };
    let (up, down) = (flow(|state| state.up), flow(|state| state.down));
    let mut changes = states.clone();
    tokio::select! {
        () = carry(from_client, to_server, up, states.clone()) => {}
        () = carry(from_server, to_client, down, states.clone()) => {}
        // The sender is gone when the proxy is.
        _ = changes.wait_for(|state| state.cut > born.cut) => {}
    }
}

/// Carries bytes until either end is gone.
async fn carry<F: Fn() -> Flow>(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    flow: Arc<F>,
    mut states: watch::Receiver<ProxyState>,
) {
    // Enough for what is under way on a slow line; a stalled one fills it and stops reading, as a socket does.
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(256);
    let read = async {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(count @ 1..) = from.read(&mut buffer).await {
            if sender.send((Instant::now(), buffer[..count].to_vec())).await.is_err() {
                break;
            }
        }
    };
    let write = async {
        while let Some((came, bytes)) = receiver.recv().await {
            loop {
                match flow() {
                    Flow::Stall => {}
                    Flow::Delay(delay) => {
                        sleep_until(came + delay).await;
                        break;
                    }
                    Flow::Throttle(rate) => {
                        sleep(Duration::from_secs_f64(bytes.len() as f64 / rate as f64)).await;
                        break;
                    }
                    Flow::Pass => break,
                }
                if states.changed().await.is_err() {
                    return;
                }
            }
            if to.write_all(&bytes).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = read => {}
        () = write => {}
    }
}
