//! A way to a double that misbehaves once: HTTP requests are passed on whole, except those a test has something done to.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is answered by DynamoDB's request for fewer requests.
    Throttled,
    /// Nothing: it is not this one's turn.
    Passed,
    /// The same from a service that answers in XML.
    ThrottledInXml,
    /// It is done, and its answer is lost with the connection.
    AnswerLost,
    /// It is done, and its answer waits until it is released.
    Held,
}

/// Where held answers wait, and the test for them.
#[derive(Debug, Default)]
struct Hold {
    held: tokio::sync::Notify,
    released: tokio::sync::Notify,
}

/// Listens until the process ends.
#[derive(Debug)]
pub(crate) struct Interruption {
    endpoint: String,
    fates: Arc<Mutex<VecDeque<Fate>>>,
    requests: Arc<AtomicUsize>,
    hold: Arc<Hold>,
}

impl Interruption {
    /// Starts in front of `upstream`, `http://127.0.0.1:5000`.
    pub(crate) fn before(upstream: &str) -> Interruption {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let fates = Arc::new(Mutex::new(VecDeque::new()));
        let requests = Arc::new(AtomicUsize::new(0));
        let hold = Arc::new(Hold::default());
        let holding = Arc::clone(&hold);
        let upstream = upstream.trim_start_matches("http://").to_owned();
        let (coming, counted) = (Arc::clone(&fates), Arc::clone(&requests));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (upstream, coming) = (upstream.clone(), Arc::clone(&coming));
                let (counted, hold) = (Arc::clone(&counted), Arc::clone(&holding));
                std::thread::spawn(move || {
                    let next = || {
                        counted.fetch_add(1, Ordering::SeqCst);
                        coming.lock().unwrap().pop_front()
                    };
                    // A client that goes away is not this test's concern.
                    let _ = pass(client, &upstream, next, &hold);
                });
            }
        });
        Interruption { endpoint, fates, requests, hold }
    }

    /// Its address.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// What becomes of the requests that come next, one each.
    pub(crate) fn next(&self, fates: &[Fate]) {
        self.fates.lock().unwrap().extend(fates);
    }

    /// Waits until an answer is held.
    pub(crate) async fn held(&self) {
        self.hold.held.notified().await;
    }

    /// Lets the held answer go.
    pub(crate) fn release(&self) {
        self.hold.released.notify_one();
    }

    /// Requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// Passes one request on, one connection each, so that nothing needs to be known of an answer's end.
fn pass(
    mut client: TcpStream,
    upstream: &str,
    next: impl FnOnce() -> Option<Fate>,
    hold: &Hold,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let fate = next();
    let throttle = match fate {
        Some(Fate::Throttled) => Some((
            "application/x-amz-json-1.0",
            r#"{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException"}"#,
        )),
        Some(Fate::ThrottledInXml) => Some((
            "text/xml",
            "<ErrorResponse><Error><Code>Throttling</Code><Message>Rate exceeded</Message></Error></ErrorResponse>",
        )),
        _ => None,
    };
    if let Some((kind, said)) = throttle {
        return write!(
            client,
            "HTTP/1.1 400 Bad Request\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{said}",
            said.len()
        );
    }
    let mut server = TcpStream::connect(upstream)?;
    server.write_all(format!("{head}Connection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer)?;
    if fate == Some(Fate::Held) {
        hold.held.notify_one();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(hold.released.notified());
    }
    if fate != Some(Fate::AnswerLost) {
        // The client must not keep this connection for its next request.
        let end = answer.windows(2).position(|two| two == b"\r\n").unwrap_or(0);
        client.write_all(&answer[..end])?;
        client.write_all(b"\r\nConnection: close")?;
        client.write_all(&answer[end..])?;
    }
    Ok(())
}
