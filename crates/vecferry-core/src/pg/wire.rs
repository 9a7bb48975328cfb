//! A connection that speaks the protocol itself, so that COPY data can be forwarded frame by frame without being
//! taken apart: half the processor time of a general client. Only simple queries and COPY; SQL with parameters
//! goes through [`super::Session`].
//!
//! Message formats: <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

use std::io;

use bytes::{Buf, BytesMut};
use fallible_iterator::FallibleIterator;
use postgres_protocol::authentication::{md5_hash, sasl};
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::session::settings_statement;
use super::{Dsn, Failure, Login, Stream};
use crate::error::{Result, Side, on};

/// How rows are written in a COPY.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CopyFormat {
    /// `FORMAT binary`: the server's own send and receive functions.
    Binary,
    /// `FORMAT text`: for types without binary functions, or whose binary form holds another cluster's OIDs.
    Text,
}

/// Bytes read from the socket at once. Large enough that system calls do not show in a profile, small enough that
/// two buffers for each of 16 workers stay under 8 MiB.
const READ_SIZE: usize = 256 * 1024;

/// A row of a simple query's answer: each column as text, `None` for NULL.
pub type TextRow = Vec<Option<String>>;

/// A logged-in connection.
pub struct WireConnection {
    stream: Stream,
    side: Side,
    buffer: BytesMut,
}

impl WireConnection {
    /// Connects, logs in and applies the common session settings.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] naming the address.
    pub async fn open(dsn: &Dsn, side: Side, purpose: &str) -> Result<WireConnection> {
        WireConnection::start(dsn, side, purpose, &[]).await
    }

    /// Like [`WireConnection::open`], as a connection that also takes replication commands in its database
    /// (<https://www.postgresql.org/docs/current/protocol-replication.html>).
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] naming the address; SQLSTATE 42501 when the role may not replicate.
    pub async fn open_replication(dsn: &Dsn, side: Side, purpose: &str) -> Result<WireConnection> {
        WireConnection::start(dsn, side, purpose, &[("replication", "database")]).await
    }

    async fn start(
        dsn: &Dsn,
        side: Side,
        purpose: &str,
        more: &[(&str, &str)],
    ) -> Result<WireConnection> {
        loop {
            let login = dsn.login();
            match WireConnection::start_as(dsn, &login, side, (purpose, more)).await {
                Ok(connection) => {
                    dsn.accepted(&login);
                    return Ok(connection);
                }
                Err(error) => dsn.renewed(&login, error).await?,
            }
        }
    }

    async fn start_as(
        dsn: &Dsn,
        login: &Login,
        side: Side,
        (purpose, more): (&str, &[(&str, &str)]),
    ) -> Result<WireConnection> {
        let doing = format!("connect to {dsn}");
        let stream = Stream::connect(dsn).await.map_err(on::<Failure>(side, &doing))?;
        let mut connection =
            WireConnection { stream, side, buffer: BytesMut::with_capacity(READ_SIZE) };
        let limit = dsn.patience();
        let silent = |_| Failure::Timeout { seconds: limit.as_secs() };
        let logging_in = connection.log_in(&dsn.database, login, purpose, more);
        let logged_in = tokio::time::timeout(limit, logging_in).await;
        logged_in.map_err(silent).map_err(on(side, &doing))?.map_err(on(side, &doing))?;
        connection.simple("prepare the session", &settings_statement()).await?;
        Ok(connection)
    }

    /// The cluster this connection is to.
    pub fn side(&self) -> Side {
        self.side
    }

    /// Runs statements and returns the rows of all of them as text.
    ///
    /// # Errors
    /// [`crate::Error::Postgres`] saying `doing`.
    pub async fn simple(&mut self, doing: &str, sql: &str) -> Result<Vec<TextRow>> {
        let side = self.side;
        self.run_simple(sql).await.map_err(on(side, doing))
    }

    /// Starts `COPY … TO STDOUT`; frames follow through [`WireConnection::fill`].
    ///
    /// # Errors
    /// [`Failure`] from the server.
    pub async fn begin_copy_out(&mut self, sql: &str) -> Result<(), Failure> {
        self.send_query(sql).await?;
        self.expect_copy(|message| matches!(message, Message::CopyOutResponse(_))).await
    }

    /// Starts `COPY … FROM STDIN`; frames are written through [`WireConnection::write`].
    ///
    /// # Errors
    /// [`Failure`] from the server.
    pub async fn begin_copy_in(&mut self, sql: &str) -> Result<(), Failure> {
        self.send_query(sql).await?;
        self.expect_copy(|message| matches!(message, Message::CopyInResponse(_))).await
    }

    /// Ends a `COPY … FROM STDIN` and returns the number of rows the server counted.
    ///
    /// # Errors
    /// [`Failure`] from the server, including errors it met earlier in the stream.
    pub async fn finish_copy_in(&mut self) -> Result<u64, Failure> {
        let mut out = BytesMut::new();
        frontend::copy_done(&mut out);
        self.write(&out).await?;
        self.read_until_ready().await
    }

    /// Gives up a `COPY … FROM STDIN` between two frames, leaving the connection usable.
    ///
    /// # Errors
    /// [`Failure`] when the connection itself is lost.
    pub async fn fail_copy_in(&mut self, reason: &str) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::copy_fail(reason, &mut out)?;
        self.write(&out).await?;
        match self.read_until_ready().await {
            Ok(_) | Err(Failure::Server { .. }) => Ok(()),
            Err(lost) => Err(lost),
        }
    }

    /// Reads whatever has arrived into the buffer and returns it; the caller consumes with
    /// [`WireConnection::consume`].
    ///
    /// # Errors
    /// [`Failure::Closed`] at the end of the stream.
    pub async fn fill(&mut self) -> Result<&[u8], Failure> {
        self.read_more().await?;
        Ok(&self.buffer)
    }

    /// What has been read and not consumed.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer
    }

    /// Takes the ErrorResponse at the front of the buffer.
    ///
    /// # Errors
    /// [`Failure::Protocol`] when there is none.
    pub(crate) fn take_error(&mut self) -> Result<Failure, Failure> {
        match Message::parse(&mut self.buffer)? {
            Some(Message::ErrorResponse(body)) => Ok(server_failure(&body)?),
            _ => Err(Failure::Protocol("an error message is malformed".into())),
        }
    }

    /// Drops `count` bytes from the front of the buffer.
    pub fn consume(&mut self, count: usize) {
        self.buffer.advance(count);
    }

    /// Writes bytes as they are. When the server has hung up, its last words are the error.
    ///
    /// # Errors
    /// [`Failure`] from the socket, or the server's message that explains it.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        match self.stream.write_all(bytes).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.last_words().await.unwrap_or_else(|| error.into())),
        }
    }

    /// Reads messages until the server is ready for the next query.
    ///
    /// # Errors
    /// The first error the server reported on the way.
    pub async fn read_until_ready(&mut self) -> Result<u64, Failure> {
        let mut rows = 0;
        let mut failed = None;
        loop {
            match self.read_message().await? {
                Message::CommandComplete(body) => rows = rows_in_tag(body.tag()?),
                Message::ErrorResponse(body) => failed = failed.or(Some(server_failure(&body)?)),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    async fn log_in(
        &mut self,
        database: &str,
        login: &Login,
        purpose: &str,
        more: &[(&str, &str)],
    ) -> Result<(), Failure> {
        let application = format!("vecferry {purpose}");
        let parameters = [
            ("user", login.user.as_str()),
            ("database", database),
            ("application_name", application.as_str()),
            ("client_encoding", "UTF8"),
        ];
        let mut out = BytesMut::new();
        let parameters = parameters.iter().chain(more).copied();
        frontend::startup_message(parameters, &mut out)?;
        self.write(&out).await?;
        loop {
            match self.read_message().await? {
                Message::AuthenticationOk => return self.read_until_ready().await.map(drop),
                Message::AuthenticationCleartextPassword => {
                    self.send_password(password_of(login)?.as_bytes()).await?;
                }
                Message::AuthenticationMd5Password(body) => {
                    let (user, password) = (login.user.as_bytes(), password_of(login)?.as_bytes());
                    let hash = md5_hash(user, password, body.salt());
                    self.send_password(hash.as_bytes()).await?;
                }
                Message::AuthenticationSasl(_) => self.log_in_by_scram(password_of(login)?).await?,
                Message::ErrorResponse(body) => return Err(server_failure(&body)?),
                _ => {
                    return Err(Failure::Protocol(
                        "the server asks for a login method that is not supported".into(),
                    ));
                }
            }
        }
    }

    async fn log_in_by_scram(&mut self, password: &str) -> Result<(), Failure> {
        let mut scram =
            sasl::ScramSha256::new(password.as_bytes(), sasl::ChannelBinding::unsupported());
        let mut out = BytesMut::new();
        frontend::sasl_initial_response(sasl::SCRAM_SHA_256, scram.message(), &mut out)?;
        self.write(&out).await?;
        loop {
            match self.read_message().await? {
                Message::AuthenticationSaslContinue(body) => {
                    scram.update(body.data())?;
                    out.clear();
                    frontend::sasl_response(scram.message(), &mut out)?;
                    self.write(&out).await?;
                }
                Message::AuthenticationSaslFinal(body) => return Ok(scram.finish(body.data())?),
                Message::ErrorResponse(body) => return Err(server_failure(&body)?),
                _ => {
                    return Err(Failure::Protocol(
                        "unexpected message during SCRAM authentication".into(),
                    ));
                }
            }
        }
    }

    async fn send_password(&mut self, password: &[u8]) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::password_message(password, &mut out)?;
        self.write(&out).await
    }

    async fn send_query(&mut self, sql: &str) -> Result<(), Failure> {
        let mut out = BytesMut::new();
        frontend::query(sql, &mut out)?;
        self.write(&out).await
    }

    async fn run_simple(&mut self, sql: &str) -> Result<Vec<TextRow>, Failure> {
        self.send_query(sql).await?;
        let mut rows = Vec::new();
        let mut failed = None;
        loop {
            match self.read_message().await? {
                Message::DataRow(body) => rows.push(text_row(&body)?),
                Message::ErrorResponse(body) => failed = failed.or(Some(server_failure(&body)?)),
                Message::ReadyForQuery(_) => return failed.map_or(Ok(rows), Err),
                _ => {}
            }
        }
    }

    async fn expect_copy(&mut self, wanted: impl Fn(&Message) -> bool) -> Result<(), Failure> {
        loop {
            match self.read_message().await? {
                message if wanted(&message) => return Ok(()),
                Message::ErrorResponse(body) => {
                    let failure = server_failure(&body)?;
                    self.read_until_ready().await?;
                    return Err(failure);
                }
                Message::NoticeResponse(_) | Message::ParameterStatus(_) => {}
                _ => return Err(Failure::Protocol("the server did not start the COPY".into())),
            }
        }
    }

    async fn read_message(&mut self) -> Result<Message, Failure> {
        loop {
            if let Some(message) = Message::parse(&mut self.buffer)? {
                return Ok(message);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Failure> {
        self.buffer.reserve(READ_SIZE);
        match self.stream.read_buf(&mut self.buffer).await? {
            0 => Err(Failure::Closed),
            _ => Ok(()),
        }
    }

    /// After a failed write: the error the server sent before it closed, if it did.
    async fn last_words(&mut self) -> Option<Failure> {
        loop {
            match self.read_message().await.ok()? {
                Message::ErrorResponse(body) => return server_failure(&body).ok(),
                _ => continue,
            }
        }
    }
}

/// A server's error message as a [`Failure`].
fn server_failure(body: &ErrorResponseBody) -> io::Result<Failure> {
    let (mut code, mut message, mut hint, mut position) =
        (String::new(), String::new(), None, None);
    let mut fields = body.fields();
    while let Some(field) = fields.next()? {
        let value = String::from_utf8_lossy(field.value_bytes()).into_owned();
        match field.type_() {
            b'C' => code = value,
            b'M' => message = value,
            b'H' => hint = Some(value),
            b'P' => position = value.parse().ok(),
            _ => {}
        }
    }
    Ok(Failure::server(&code, &message, hint.as_deref(), position))
}

/// The frame at the front of `bytes`: its tag and whole length with the tag, once five bytes are there.
pub(crate) fn frame(bytes: &[u8]) -> io::Result<Option<(u8, usize)>> {
    // The length counts itself but not the tag.
    Ok(Header::parse(bytes)?.map(|header| (header.tag(), header.len() as usize + 1)))
}

fn text_row(body: &DataRowBody) -> Result<TextRow, Failure> {
    let data = body.buffer();
    let mut row = Vec::new();
    let mut ranges = body.ranges();
    while let Some(range) = ranges.next()? {
        row.push(range.map(|range| String::from_utf8_lossy(&data[range]).into_owned()));
    }
    Ok(row)
}

fn rows_in_tag(tag: &str) -> u64 {
    tag.rsplit(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0)
}

fn password_of(login: &Login) -> Result<&str, Failure> {
    login.password.as_deref().ok_or_else(|| {
        Failure::server("28P01", "the server asks for a password and none was given", None, None)
    })
}
