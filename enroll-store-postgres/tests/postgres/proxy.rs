//! A way to the server that can be cut, at any point, and led elsewhere.

use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use enroll_store_postgres::testing::Cluster;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Where a connection breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// Before the server gets the message that commits.
    Before,
    /// In the middle of what is sent with it.
    Amid,
    /// After the server got it, before its answer arrives.
    After,
    /// The same, and what arrives is what a pooler says that lost its server.
    AfterWithWords,
}

pub(crate) struct Proxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    /// Where new connections lead.
    to: AtomicU16,
    /// What is to happen to the next commit.
    armed: Mutex<Option<Cut>>,
    /// How often something was sent after an answer had come, over all connections.
    turns: AtomicUsize,
    /// Counts how often all connections were cut.
    cuts: watch::Sender<u64>,
}

impl Proxy {
    pub(crate) async fn to(cluster: &Cluster) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let to = AtomicU16::new(cluster.port());
        let cuts = watch::Sender::default();
        let state =
            Arc::new(State { to, armed: Mutex::new(None), turns: AtomicUsize::new(0), cuts });
        let theirs = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&theirs);
                // Either end may break; that is what it is for.
                tokio::spawn(async move { drop(carry(client, &state).await) });
            }
        });
        Self { port, state }
    }

    /// The address behind it, of the schema that `url` names.
    pub(crate) fn url(&self, url: &str) -> String {
        let (_, query) = url.split_once('?').unwrap();
        let (user, database, port) = (Cluster::USER, Cluster::DATABASE, self.port);
        format!("postgres://{user}@127.0.0.1:{port}/{database}?{query}")
    }

    /// Cuts the connection of the next commit.
    pub(crate) fn cut_next(&self, cut: Cut) {
        *self.state.armed.lock().unwrap() = Some(cut);
    }

    /// Whether the cut that was asked for has not happened yet.
    pub(crate) fn is_armed(&self) -> bool {
        self.state.armed.lock().unwrap().is_some()
    }

    /// How often something was sent that waited for an answer before it.
    pub(crate) fn turns(&self) -> usize {
        self.state.turns.load(Ordering::SeqCst)
    }

    /// Cuts all connections, and leads new ones to `cluster`.
    pub(crate) fn lead_to(&self, cluster: &Cluster) {
        self.state.to.store(cluster.port(), Ordering::SeqCst);
        self.cut_all();
    }

    /// Cuts all connections.
    pub(crate) fn cut_all(&self) {
        self.state.cuts.send_modify(|count| *count += 1);
    }
}

impl State {
    /// What was asked to happen to what is sent, if it commits.
    fn next_cut_of(&self, sent: &[u8]) -> Option<Cut> {
        commit_in(sent)?;
        self.armed.lock().unwrap().take()
    }
}

async fn carry(mut client: TcpStream, state: &State) -> std::io::Result<()> {
    let mut cuts = state.cuts.subscribe();
    let mut server = TcpStream::connect(("127.0.0.1", state.to.load(Ordering::SeqCst))).await?;
    let (mut up, mut down) = (vec![0; 64 * 1024], vec![0; 64 * 1024]);
    let mut answered = true;
    loop {
        tokio::select! {
            _cut = cuts.changed() => return Ok(()),
            read = client.read(&mut up) => {
                let sent = &up[..read?];
                if sent.is_empty() {
                    return Ok(());
                }
                if let Some((at, cut)) = commit_in(sent).zip(state.next_cut_of(sent)) {
                    return break_at(cut, sent, at, &mut server, &mut client).await;
                }
                state.turns.fetch_add(usize::from(answered), Ordering::SeqCst);
                answered = false;
                server.write_all(sent).await?;
            }
            read = server.read(&mut down) => {
                let sent = &down[..read?];
                if sent.is_empty() {
                    return Ok(());
                }
                answered = true;
                client.write_all(sent).await?;
            }
        }
    }
}

/// Where the message begins that commits.
fn commit_in(sent: &[u8]) -> Option<usize> {
    sent.windows(7).position(|bytes| bytes == b"COMMIT\0")
}

async fn break_at(
    cut: Cut,
    sent: &[u8],
    at: usize,
    server: &mut TcpStream,
    client: &mut TcpStream,
) -> std::io::Result<()> {
    match cut {
        // A message begins with its kind and its length.
        Cut::Before => server.write_all(&sent[..at.saturating_sub(5)]).await,
        Cut::Amid => server.write_all(&sent[..at + 3]).await,
        Cut::After | Cut::AfterWithWords => {
            server.write_all(sent).await?;
            // Whatever it answers is lost. It is heard out, so that it has done what it was asked.
            let mut answer = Vec::new();
            while commit_in(&answer).is_none() && server.read_buf(&mut answer).await? > 0 {}
            if cut == Cut::AfterWithWords {
                let fields = b"SFATAL\0C08P01\0Mserver conn crashed?\0\0";
                let length = u32::try_from(fields.len() + 4).unwrap();
                client.write_all(&[b"E", &length.to_be_bytes()[..], fields].concat()).await?;
                client.shutdown().await?;
            }
            Ok(())
        }
    }
}
