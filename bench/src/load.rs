//! The load: a closed loop over keep-alive connections, as cheap for this machine as it can be.
//!
//! One thread writes a request on every connection and then reads the responses in turn, each
//! followed by that connection's next request. Every connection always has one request under
//! way, so the server never waits for the load, and the load needs two system calls a request.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a response may take before the run is given up.
const RESPONSE_DEADLINE: Duration = Duration::from_secs(10);

/// A response's bytes at most; those under comparison have 400.
const RESPONSE_BYTES_MAX: usize = 64 << 10;

/// One response.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A keep-alive connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(server).context("cannot connect to the server")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(RESPONSE_DEADLINE))?;
        Ok(Self { stream, received: vec![0; RESPONSE_BYTES_MAX] })
    }

    fn send(&mut self, request: &[u8]) -> Result<()> {
        self.stream.write_all(request).context("cannot send a request")
    }

    /// Reads the response to the one request that is under way: its head and its body.
    fn receive(&mut self) -> Result<(&[u8], &[u8])> {
        let mut filled = 0;
        let mut whole = None;
        loop {
            if let Some((head, end)) = whole
                && filled >= end
            {
                return Ok((
                    self.received.get(..head).unwrap_or_default(),
                    self.received.get(head..end).unwrap_or_default(),
                ));
            }
            let room = self.received.get_mut(filled..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => {
                    bail!("the server hung up, or its response is over {RESPONSE_BYTES_MAX} bytes")
                }
                Ok(bytes) => filled += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error).context("no response in time"),
            }
            if whole.is_none() {
                whole = length(self.received.get(..filled).unwrap_or_default())?;
            }
        }
    }

    /// One request and its response.
    pub(crate) fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        self.send(request)?;
        let (head, body) = self.receive()?;
        let head = str::from_utf8(head).context("a response's head is not text")?;
        let mut lines = head.trim_end().split("\r\n");
        let status = lines
            .next()
            .and_then(|line| line.split(' ').nth(1)?.parse().ok())
            .with_context(|| format!("no response: {head:?}"))?;
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        Ok(Response { status, headers, body: body.to_vec() })
    }
}

/// The bytes of the head and of the whole response, once the head is there.
fn length(received: &[u8]) -> Result<Option<(usize, usize)>> {
    const NAME: &[u8] = b"\r\ncontent-length: ";
    const END: &[u8] = b"\r\n\r\n";
    let find = |wanted: &[u8]| received.windows(wanted.len()).position(|window| window == wanted);
    let Some(end) = find(END) else {
        return Ok(None);
    };
    let digits = find(NAME).and_then(|at| received.get(at + NAME.len()..end)).unwrap_or_default();
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits
        .fold(None, |length: Option<usize>, digit| {
            Some(length.unwrap_or(0) * 10 + usize::from(digit - b'0'))
        })
        .context("a response has no content-length")?;
    let head = end + END.len();
    Ok(Some((head, head + length)))
}

/// Connections with one request under way on each.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    connections: Vec<(Connection, &'a [u8])>,
}

impl<'a> Load<'a> {
    /// A connection for each of `requests`, which it repeats.
    pub(crate) fn start(server: SocketAddr, requests: &'a [Vec<u8>]) -> Result<Self> {
        let mut connections = Vec::with_capacity(requests.len());
        for request in requests {
            let mut connection = Connection::open(server)?;
            connection.send(request)?;
            connections.push((connection, request.as_slice()));
        }
        Ok(Self { connections })
    }

    /// Keeps going for about `time`; gives how many responses came, all of them 200.
    pub(crate) fn run(&mut self, time: Duration) -> Result<u64> {
        let began = Instant::now();
        let mut responses = 0;
        while began.elapsed() < time {
            for (connection, request) in &mut self.connections {
                let (head, body) = connection.receive()?;
                if !head.starts_with(b"HTTP/1.1 200 ") {
                    bail!(
                        "the server answered {}{}",
                        String::from_utf8_lossy(head),
                        String::from_utf8_lossy(body)
                    );
                }
                connection.send(request)?;
                responses += 1;
            }
        }
        Ok(responses)
    }
}
