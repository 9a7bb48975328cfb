//! The switch command: the operator's own, which points the application at the other cluster.
//!
//! Its exit code is its word: 0 means that the application was switched, anything else that it was not. No word (it
//! ran too long, or a signal ended it) means that nobody knows, and both clusters must then be left as they are.

use std::io;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use super::{Answer, Order, Switch};
use crate::error::{Error, Result};
use crate::report::{Event, Reporter};

/// What the shell runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandSwitch {
    command: String,
}

impl CommandSwitch {
    /// This command, for `sh -c`.
    pub fn new(command: impl Into<String>) -> CommandSwitch {
        CommandSwitch { command: command.into() }
    }
}

#[async_trait]
impl Switch for CommandSwitch {
    fn name(&self) -> String {
        "the switch command".to_owned()
    }

    /// What a command will do is not known before.
    async fn obstacle(&self, _: Order<'_>) -> Result<Option<String>> {
        Ok(None)
    }

    /// Runs the command to its end or its timeout.
    ///
    /// # Errors
    /// [`Error::Local`] when its end cannot be waited for.
    async fn switch(&self, order: Order<'_>, reporter: &dyn Reporter) -> Result<Answer> {
        run(&self.command, order, reporter).await
    }
}

/// What a shell answers for a command it cannot start.
const NO_SHELL: i32 = 126;

/// Output of a process that went into the background is not waited for.
const REST_OF_OUTPUT: Duration = Duration::from_millis(500);

async fn run(command: &str, order: Order<'_>, reporter: &dyn Reporter) -> Result<Answer> {
    let to = order.to.for_others();
    let mut shell = Command::new("sh");
    shell
        .args(["-c", command])
        .envs(to.libpq_environment(&to.login(), None))
        .env("VECFERRY_SWITCH_URL", to.url())
        .env("VECFERRY_SWITCH_TO", order.direction.receiver().to_string())
        .env("VECFERRY_MIGRATION", order.migration)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Ctrl-C on the terminal is for us: a switch that is half done must not be cut off.
        .process_group(0);
    let failed = |source| Error::Local { doing: "run the switch command".into(), source };
    let mut child = match shell.spawn() {
        Ok(child) => child,
        Err(error) => {
            reporter.event(&Event::SwitchSaid { line: format!("cannot start a shell: {error}") });
            return Ok(not_switched(NO_SHELL));
        }
    };
    let (out, err) = (child.stdout.take(), child.stderr.take());
    let output = async { tokio::join!(tell(out, reporter), tell(err, reporter)) };
    tokio::pin!(output);
    let ended = {
        let waiting = tokio::time::timeout(order.timeout, child.wait());
        tokio::pin!(waiting);
        tokio::select! {
            ended = &mut waiting => {
                let _ = tokio::time::timeout(REST_OF_OUTPUT, &mut output).await;
                ended
            }
            _ = &mut output => waiting.await,
        }
    };
    Ok(match ended {
        Ok(status) => answer(status.map_err(failed)?.code()),
        Err(_) => {
            end(&mut child).await;
            let seconds = order.timeout.as_secs_f64();
            Answer::Unknown(format!("the switch command did not end within {seconds} s"))
        }
    })
}

fn answer(code: Option<i32>) -> Answer {
    match code {
        Some(0) => Answer::Switched,
        Some(code) => not_switched(code),
        None => Answer::Unknown("the switch command was ended by a signal".into()),
    }
}

fn not_switched(code: i32) -> Answer {
    Answer::NotSwitched(format!("the switch command ended with exit code {code}"))
}

/// Ends the command with all it started: one that went on by itself could switch later, unseen.
async fn end(child: &mut Child) {
    let group = child.id().and_then(|id| i32::try_from(id).ok());
    if let Some(group) = group.and_then(rustix::process::Pid::from_raw) {
        // Fails when it has just ended.
        let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
    }
    let _ = child.wait().await;
}

/// Passes output on, line by line as far as lines are short; memory stays bounded when they are not.
async fn tell(stream: Option<impl AsyncRead + Unpin>, reporter: &dyn Reporter) -> io::Result<()> {
    let Some(mut stream) = stream else { return Ok(()) };
    let (mut pending, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let read = stream.read(&mut buffer).await?;
        pending.extend_from_slice(&buffer[..read]);
        let over = read == 0 || pending.len() > 4 * buffer.len();
        let end = match pending.iter().rposition(|byte| *byte == b'\n') {
            Some(at) => at + 1,
            None if over => pending.len(),
            None => 0,
        };
        let end = if read == 0 { pending.len() } else { end };
        for line in String::from_utf8_lossy(&pending[..end]).lines() {
            reporter.event(&Event::SwitchSaid { line: line.to_owned() });
        }
        pending.drain(..end);
        if read == 0 {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::cutover::step::Direction;
    use crate::pg::Dsn;

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Reporter for Heard {
        fn event(&self, event: &Event) {
            if let Event::SwitchSaid { line } = event {
                self.0.lock().unwrap().push(line.clone());
            }
        }
    }

    async fn run_one(command: &str, timeout: Duration) -> (Answer, Vec<String>) {
        let heard = Heard::default();
        let to: Dsn = "postgresql://me:it%27s%20@h:5/db".parse().unwrap();
        let direction = Direction::Cutover;
        let order = Order { direction, to: &to, migration: "m1", timeout };
        let answer = CommandSwitch::new(command).switch(order, &heard).await.unwrap();
        (answer, heard.0.into_inner().unwrap())
    }

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_command_learns_where_to_point_the_application() {
        let says = "echo $VECFERRY_SWITCH_URL $VECFERRY_SWITCH_TO $VECFERRY_MIGRATION; \
                    echo \"$PGHOST $PGPORT $PGUSER $PGPASSWORD|$PGDATABASE\" >&2";
        let (answer, mut said) = run_one(says, LONG).await;
        said.sort();
        assert_eq!(answer, Answer::Switched);
        assert_eq!(
            said,
            ["h 5 me it's |db", "postgresql://me:it%27s%20@h:5/db?sslmode=prefer target m1",]
        );
    }

    #[tokio::test]
    async fn an_exit_code_is_a_no_and_a_signal_or_a_timeout_is_nobodys_word() {
        assert_eq!(run_one("exit 7", LONG).await.0, not_switched(7));
        assert!(matches!(run_one("kill -9 $$", LONG).await.0, Answer::Unknown(_)));
        let slow = run_one("sleep 1000 & wait", Duration::from_millis(200)).await.0;
        assert!(matches!(slow, Answer::Unknown(_)), "{slow:?}");
        // A background process that keeps the output open does not hold us.
        assert_eq!(run_one("sleep 1000 & echo $!; exit 0", LONG).await.0, Answer::Switched);
    }
}
