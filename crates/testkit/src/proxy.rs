//! A TCP proxy on loopback that can cut, stall, resume and delay what goes through it.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::ports::Port;

/// What is read at once, and so what one delay applies to.
const CHUNK_SIZE: usize = 64 * 1024;

/// A link between two processes. Whoever is to go through it connects to [`Proxy::address`].
#[derive(Debug)]
pub struct Proxy {
    port: Port,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    link: Mutex<Link>,
    changed: Condvar,
}

#[derive(Debug)]
struct Link {
    state: State,
    delay: Duration,
    /// Both ends of every open connection.
    connections: BTreeMap<u64, [TcpStream; 2]>,
    /// The number of the next connection.
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Open,
    /// Nothing moves, nobody is told: a pulled cable.
    Stalled,
    /// Connections are reset, new ones end at once: a dead process.
    Cut,
    /// The proxy is dropped.
    Ended,
}

impl Proxy {
    /// A proxy before `target` (`host:port`), which need not be there yet.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(target: &str) -> Result<Proxy> {
        let port = Port::reserve()?;
        let listener = TcpListener::bind(port.address()).context("listening for the proxy")?;
        let link = Link { state: State::Open, delay: Duration::ZERO, connections: BTreeMap::new(), next: 0 };
        let shared = Shared { target: target.into(), link: Mutex::new(link), changed: Condvar::new() };
        let shared = Arc::new(shared);
        let accepting = Arc::clone(&shared);
        thread::spawn(move || accept(&listener, &accepting));
        Ok(Proxy { port, shared })
    }

    /// `127.0.0.1:<port>`.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// Its port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// Closes every connection and every new one, until [`Proxy::resume`].
    pub fn cut(&self) {
        self.shared.set(State::Cut);
    }

    /// Keeps connections open and passes nothing on, until [`Proxy::resume`], which passes on what has gathered.
    pub fn stall(&self) {
        self.shared.set(State::Stalled);
    }

    /// Lets everything through again.
    pub fn resume(&self) {
        self.shared.set(State::Open);
    }

    /// Passes on what is read (up to 64 KiB at once) so much later from now on.
    pub fn delay(&self, delay: Duration) {
        self.shared.link().delay = delay;
    }

    /// How many connections go through it now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.link().connections.len()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.set(State::Ended);
        // Wakes the thread that accepts, which then sees that it is over.
        let _ = TcpStream::connect(self.address());
    }
}

impl Shared {
    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, state: State) {
        let mut link = self.link();
        link.state = state;
        if matches!(state, State::Cut | State::Ended) {
            let connections = std::mem::take(&mut link.connections);
            connections.values().flatten().for_each(|end| drop(end.shutdown(Shutdown::Both)));
        }
        self.changed.notify_all();
    }

    /// Waits out the delay and any stall. Whether the link is still there afterwards.
    fn pass(&self) -> bool {
        let link = self.link();
        let delay = link.delay;
        let gone = |link: &Link| matches!(link.state, State::Cut | State::Ended);
        let waited = self.changed.wait_timeout_while(link, delay, |link| !gone(link));
        let (link, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let link = self.changed.wait_while(link, |link| link.state == State::Stalled);
        !gone(&link.unwrap_or_else(PoisonError::into_inner))
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for client in listener.incoming() {
        if shared.link().state == State::Ended {
            return;
        }
        // A target that is not there closes the connection, as it would without us.
        let _ = client.map(|client| connect(client, shared));
    }
}

fn connect(client: TcpStream, shared: &Arc<Shared>) -> Result<()> {
    let server = TcpStream::connect(&shared.target)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (client_end, server_end) = (client.try_clone()?, server.try_clone()?);
    let ends = [client.try_clone()?, server.try_clone()?];
    let mut link = shared.link();
    // Looked at under the lock that `set` takes: a connection is either seen by a cut or never begins.
    if matches!(link.state, State::Cut | State::Ended) {
        return Ok(());
    }
    let number = link.next;
    link.next += 1;
    link.connections.insert(number, ends);
    drop(link);
    copy_in_background(number, client, server_end, Arc::clone(shared));
    copy_in_background(number, server, client_end, Arc::clone(shared));
    Ok(())
}

/// Passes one direction on; its end is the end of the whole connection.
fn copy_in_background(number: u64, from: TcpStream, to: TcpStream, shared: Arc<Shared>) {
    thread::spawn(move || {
        let _ = copy(&from, &to, &shared);
        let _ = to.shutdown(Shutdown::Both);
        let _ = from.shutdown(Shutdown::Both);
        shared.link().connections.remove(&number);
    });
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut chunk = vec![0; CHUNK_SIZE];
    loop {
        let size = from.read(&mut chunk)?;
        if size == 0 || !shared.pass() {
            return Ok(());
        }
        to.write_all(&chunk[..size])?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::waiting::wait;

    const DEADLINE: Duration = Duration::from_secs(10);

    /// Sends back whatever comes, to any number of clients.
    fn echo_server() -> Result<(TcpListener, String)> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        let accepting = listener.try_clone()?;
        thread::spawn(move || {
            for stream in accepting.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        Ok((listener, address))
    }

    fn connect_to(proxy: &Proxy) -> Result<TcpStream> {
        let stream = TcpStream::connect(proxy.address())?;
        stream.set_read_timeout(Some(DEADLINE))?;
        Ok(stream)
    }

    fn echo(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
        stream.write_all(text)?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn what_is_sent_comes_through_both_ways() -> Result<()> {
        let (_listener, address) = echo_server()?;
        let proxy = Proxy::start(&address)?;
        let mut first = connect_to(&proxy)?;
        let mut second = connect_to(&proxy)?;
        assert_eq!(echo(&mut first, b"one")?, b"one");
        assert_eq!(echo(&mut second, b"two")?, b"two");
        assert_eq!(proxy.connections(), 2);
        drop(first);
        wait("the end of the first", DEADLINE, || proxy.connections() == 1)?;
        assert_eq!(echo(&mut second, b"still")?, b"still");
        Ok(())
    }

    #[test]
    fn a_cut_ends_connections_until_the_link_is_resumed() -> Result<()> {
        let (_listener, address) = echo_server()?;
        let proxy = Proxy::start(&address)?;
        let mut before = connect_to(&proxy)?;
        echo(&mut before, b"x")?;
        proxy.cut();
        assert!(echo(&mut before, b"x").is_err());
        assert!(echo(&mut connect_to(&proxy)?, b"x").is_err());
        proxy.resume();
        assert_eq!(echo(&mut connect_to(&proxy)?, b"back")?, b"back");
        Ok(())
    }

    #[test]
    fn a_stalled_link_holds_bytes_and_gives_them_on_when_resumed() -> Result<()> {
        let (_listener, address) = echo_server()?;
        let proxy = Proxy::start(&address)?;
        let mut stream = connect_to(&proxy)?;
        echo(&mut stream, b"x")?;
        proxy.stall();
        stream.set_read_timeout(Some(Duration::from_millis(300)))?;
        let error = echo(&mut stream, b"held").unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        proxy.resume();
        stream.set_read_timeout(Some(DEADLINE))?;
        let mut answer = [0; 4];
        stream.read_exact(&mut answer)?;
        assert_eq!(&answer, b"held");
        Ok(())
    }

    #[test]
    fn a_delay_applies_in_each_direction() -> Result<()> {
        let (_listener, address) = echo_server()?;
        let proxy = Proxy::start(&address)?;
        let mut stream = connect_to(&proxy)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        proxy.delay(Duration::from_millis(60));
        let start = std::time::Instant::now();
        echo(&mut stream, b"x")?;
        assert!(start.elapsed() >= Duration::from_millis(120));
        Ok(())
    }
}
