//! The application's secret as the switch of a cutover: host, port, database and login become the receiver's.
//!
//! What is durable when:
//!
//! 1. The version that is current gets the label `vecferry-MIGRATION` (a cutover only): it is kept for the rollback
//!    however often the secret is changed until then.
//! 2. A new version is written under the label `vecferry-MIGRATION-DIRECTION`. Killed here: the application sees nothing of
//!    it; the next run writes another, and the service forgets versions without labels.
//! 3. AWSCURRENT moves from the version that was read to the new one, in one call that fails when it is on another one
//!    meanwhile: a rotation in between is not overwritten. The service moves AWSPREVIOUS along.
//! 4. AWSCURRENT is read back. The answer is "switched" only when it holds what was to be written.
//!
//! A run that finds in AWSCURRENT what it was to write is done. A rollback undoes what the cutover changed, and nothing
//! that somebody has changed since; where that is what the kept version says, AWSCURRENT moves back to that very version.
//! Nothing of a text gets into a message.

use async_trait::async_trait;
use aws_sdk_secretsmanager::Client;
use aws_sdk_secretsmanager::operation::describe_secret::DescribeSecretOutput;
use vecferry_core::cutover::step::Direction;
use vecferry_core::cutover::switch::{Answer, Order, Switch};
use vecferry_core::error::on_one_line;
use vecferry_core::report::{Event, Reporter};
use vecferry_core::{Class, Error, Result};

use super::edit::{Back, Place, Text, is_here};
use super::{CURRENT, refused, unusable};
use crate::account::Account;
use crate::failure::{class_of, said};

/// Labels of a version, as the service's description lists them by version.
type Labels = Vec<(String, Vec<String>)>;

/// A secret that the application reads its database from.
#[derive(Debug, Clone)]
pub struct SecretSwitch {
    client: Client,
    /// ARN or name.
    secret: String,
}

/// One version.
#[derive(PartialEq, Eq)]
struct Version {
    id: String,
    text: String,
}

/// What is to be done.
#[derive(PartialEq, Eq)]
enum Step {
    /// AWSCURRENT holds it already.
    Nothing,
    /// It goes back to the version that was kept.
    Back { id: String, text: String },
    /// A version with this text.
    Write { text: String },
}

/// A step, and what the operator should know of it.
struct Planned {
    step: Step,
    remarks: Vec<String>,
}

/// How moving AWSCURRENT ended.
enum Moved {
    Done,
    /// The service says that it did not.
    Refused(String),
    /// It may have.
    Unknown(String),
}

impl SecretSwitch {
    /// The secret of this ARN or name.
    pub fn new(account: &Account, secret: impl Into<String>) -> SecretSwitch {
        SecretSwitch { client: Client::new(account.config()), secret: secret.into() }
    }

    /// What there is, and what is to be done about it.
    async fn look(&self, order: Order<'_>) -> Result<(Labels, Version, Planned)> {
        let labels = self.labels().await?;
        let current = self.version(CURRENT).await?;
        let planned = match order.direction {
            Direction::Cutover => ahead(&current, &Place::of(order.to)),
            Direction::Rollback => {
                let kept = kept_label(order.migration);
                let written = written_label(order.migration, Direction::Cutover);
                let (kept, written) =
                    (self.labelled(&labels, &kept).await?, self.labelled(&labels, &written).await?);
                back(&current, [kept.as_ref(), written.as_ref()], &Place::of(order.to))
            }
        };
        let planned = planned.map_err(|why| self.refused(why))?;
        Ok((labels, current, planned))
    }

    async fn labelled(&self, labels: &Labels, label: &str) -> Result<Option<Version>> {
        match holder(labels, label) {
            Some(_) => Ok(Some(self.version(label).await?)),
            None => Ok(None),
        }
    }

    async fn labels(&self) -> Result<Labels> {
        let answer = self.client.describe_secret().secret_id(&self.secret).send().await;
        let answer = answer.map_err(|error| self.failed("describe", &error))?;
        if let Some(why) = not_ours(&answer) {
            return Err(self.refused(&why));
        }
        let versions = answer.version_ids_to_stages.unwrap_or_default();
        Ok(versions.into_iter().collect())
    }

    async fn version(&self, label: &str) -> Result<Version> {
        let get = self.client.get_secret_value().secret_id(&self.secret).version_stage(label);
        let answer = get.send().await.map_err(|error| self.failed("read", &error))?;
        let text = answer.secret_string().ok_or_else(|| unusable(&self.secret, "it is no text"))?;
        Ok(Version {
            id: answer.version_id().unwrap_or_default().to_owned(),
            text: text.to_owned(),
        })
    }

    /// Labels and writes what AWSCURRENT is to move to; its version, and its text.
    async fn prepare(
        &self,
        order: Order<'_>,
        reporter: &dyn Reporter,
    ) -> Result<Option<(Version, Version)>> {
        let (labels, current, planned) = self.look(order).await?;
        let next = match planned.step {
            Step::Nothing => return Ok(None),
            Step::Back { id, text } => Version { id, text },
            Step::Write { text } => {
                if order.direction == Direction::Cutover {
                    self.keep(&labels, &current, order.migration).await?;
                    let label = kept_label(order.migration);
                    self.say(reporter, &format!("version {} is kept as {label}", current.id));
                }
                let label = written_label(order.migration, order.direction);
                let put = self.client.put_secret_value().secret_id(&self.secret);
                let put = put.secret_string(&text).version_stages(label).send().await;
                let put = put.map_err(|error| self.failed("write to", &error))?;
                Version { id: put.version_id().unwrap_or_default().to_owned(), text }
            }
        };
        for remark in &planned.remarks {
            self.say(reporter, remark);
        }
        Ok(Some((current, next)))
    }

    /// Puts the label of the rollback on the version that is current.
    async fn keep(&self, labels: &Labels, current: &Version, migration: &str) -> Result<()> {
        let label = kept_label(migration);
        let before = holder(labels, &label);
        if before == Some(current.id.as_str()) {
            return Ok(());
        }
        let call = self.client.update_secret_version_stage().secret_id(&self.secret);
        let call = call.version_stage(label).move_to_version_id(&current.id);
        let call = call.set_remove_from_version_id(before.map(str::to_owned));
        call.send().await.map(drop).map_err(|error| self.failed("label a version of", &error))
    }

    async fn move_current(&self, from: &str, to: &str) -> Moved {
        let call = self.client.update_secret_version_stage().secret_id(&self.secret);
        let call = call.version_stage(CURRENT).remove_from_version_id(from).move_to_version_id(to);
        match call.send().await {
            Ok(_) => Moved::Done,
            Err(error)
                if class_of(&error) == Class::Operator && error.as_service_error().is_some() =>
            {
                Moved::Refused(said(&error))
            }
            Err(error) => Moved::Unknown(said(&error)),
        }
    }

    /// Moves AWSCURRENT and reads it back, whatever was answered: a call whose answer was lost is made again by the SDK,
    /// and then refused because the first one was done.
    async fn commit(&self, current: &Version, next: &Version) -> Answer {
        let moved = self.move_current(&current.id, &next.id).await;
        let found = match self.version(CURRENT).await {
            Ok(found) => found,
            Err(error) => return Answer::Unknown(on_one_line(&error)),
        };
        let name = self.name();
        match moved {
            _ if found.text == next.text => Answer::Switched,
            Moved::Refused(why) => {
                Answer::NotSwitched(format!("AWSCURRENT of {name} could not be moved: {why}"))
            }
            Moved::Unknown(why) => Answer::Unknown(format!("{name}: {why}")),
            Moved::Done => {
                Answer::Unknown(format!("{name} was changed by somebody else meanwhile"))
            }
        }
    }

    fn say(&self, reporter: &dyn Reporter, what: &str) {
        reporter.event(&Event::SwitchSaid { line: format!("{}: {what}", self.name()) });
    }

    fn refused(&self, why: &str) -> Error {
        Error::Configuration {
            what: format!("the secret {} cannot be the switch: {why}", self.secret),
            hint: None,
        }
    }

    fn failed<E>(
        &self,
        doing: &str,
        error: &aws_sdk_secretsmanager::error::SdkError<
            E,
            aws_sdk_secretsmanager::config::http::HttpResponse,
        >,
    ) -> Error
    where
        E: std::error::Error
            + aws_sdk_secretsmanager::error::ProvideErrorMetadata
            + Send
            + Sync
            + 'static,
    {
        refused(&format!("{doing} the secret {}", self.secret), error)
    }
}

#[async_trait]
impl Switch for SecretSwitch {
    fn name(&self) -> String {
        format!("the secret {}", self.secret)
    }

    async fn obstacle(&self, order: Order<'_>) -> Result<Option<String>> {
        match self.look(order).await {
            Ok(_) => Ok(None),
            Err(error) if error.class() == Class::Transient => Err(error),
            Err(error) => Ok(Some(on_one_line(&error))),
        }
    }

    async fn switch(&self, order: Order<'_>, reporter: &dyn Reporter) -> Result<Answer> {
        let until = tokio::time::Instant::now() + order.timeout;
        let silent =
            || format!("{} gave no answer within {} s", self.name(), order.timeout.as_secs_f64());
        // Up to here nothing that the application reads has changed.
        let prepared = tokio::time::timeout_at(until, self.prepare(order, reporter)).await;
        let (current, next) = match prepared {
            Err(_) => return Ok(Answer::NotSwitched(silent())),
            Ok(Err(error)) => return Ok(Answer::NotSwitched(on_one_line(&error))),
            Ok(Ok(None)) => {
                self.say(reporter, "AWSCURRENT names the receiver already");
                return Ok(Answer::Switched);
            }
            Ok(Ok(Some(versions))) => versions,
        };
        let answer = tokio::time::timeout_at(until, self.commit(&current, &next)).await;
        let answer = answer.unwrap_or_else(|_| Answer::Unknown(silent()));
        if answer == Answer::Switched {
            self.say(reporter, &format!("AWSCURRENT is version {} (was {})", next.id, current.id));
        }
        Ok(answer)
    }
}

/// The label of the version that a rollback goes back to. The service allows 256 characters.
fn kept_label(migration: &str) -> String {
    format!("vecferry-{migration}")
}

/// The label of the version that was written for this direction.
fn written_label(migration: &str, direction: Direction) -> String {
    format!("{}-{direction}", kept_label(migration))
}

/// The version that carries a label.
fn holder<'a>(labels: &'a Labels, label: &str) -> Option<&'a str> {
    let carries = |labels: &[String]| labels.iter().any(|one| one == label);
    labels.iter().find(|(_, labels)| carries(labels)).map(|(id, _)| id.as_str())
}

/// Why the secret is not to be written to, whatever it holds.
fn not_ours(secret: &DescribeSecretOutput) -> Option<String> {
    if let Some(service) = secret.owning_service() {
        return Some(format!("{service} manages it"));
    }
    if secret.deleted_date().is_some() {
        return Some("it is to be deleted".to_owned());
    }
    if let Some(region) = secret.primary_region()
        && secret.arn().is_some_and(|arn| !arn.contains(region))
    {
        return Some(format!("it is a replica of the one in {region}"));
    }
    None
}

/// What is to be done so that the secret names this place. Pure.
fn ahead(current: &Version, place: &Place) -> Result<Planned, &'static str> {
    let text = Text::read(&current.text)?;
    let was_here = text.get("host").and_then(|host| host.as_str().map(is_here));
    if is_here(&place.host) && was_here == Some(false) {
        return Err(
            "the receiver's address is this machine's way to it, not the application's: write host=NAME hostaddr=ADDRESS",
        );
    }
    let text = text.pointing_to(place)?;
    let step = if text == current.text { Step::Nothing } else { Step::Write { text } };
    Ok(Planned { step, remarks: vec![] })
}

/// What is to be done so that the secret names the source as before the cutover. Pure. `place` is the source as vecferry
/// knows it; without a version that was kept it is all there is to go by.
fn back(
    current: &Version,
    [kept, written]: [Option<&Version>; 2],
    place: &Place,
) -> Result<Planned, &'static str> {
    let Some(kept) = kept else { return ahead(current, place) };
    let before = Text::read(&kept.text)?;
    let after = written.map(|written| Text::read(&written.text)).transpose()?;
    let Back { text, edited, others } =
        Text::read(&current.text)?.going_back(&before, after.as_ref())?;
    // What was kept is the application's own login there; ours tells only when its password was changed since.
    let login = place.login.as_ref();
    let renewed = login.and_then(|login| Text::read(&text).ok()?.with_password_of(login));
    let text = renewed.unwrap_or(text);
    let mut remarks = Vec::new();
    if !edited.is_empty() {
        let keys = edited.join(", ");
        remarks.push(format!("changed since the cutover, and now as before it: {keys}"));
    }
    if others > 0 {
        let (keys, stay) = if others == 1 { ("key", "stays") } else { ("keys", "stay") };
        remarks.push(format!("{others} other {keys} changed since the cutover {stay}"));
    }
    let step = match text {
        text if text == current.text => Step::Nothing,
        text if text == kept.text => Step::Back { id: kept.id.clone(), text },
        text => Step::Write { text },
    };
    Ok(Planned { step, remarks })
}

#[cfg(test)]
mod tests {
    use vecferry_core::pg::Login;

    use super::*;

    fn version(id: &str, host: &str, user: &str, password: &str) -> Version {
        let text = format!(r#"{{"host":"{host}","username":"{user}","password":"{password}"}}"#);
        Version { id: id.into(), text }
    }

    fn place(host: &str, user: &str, password: &str) -> Place {
        let login = Some(Login { user: user.into(), password: Some(password.into()) });
        Place { host: host.into(), port: 5432, database: "postgres".into(), login }
    }

    fn written(current: &Version, place: &Place) -> Step {
        ahead(current, place).unwrap().step
    }

    fn undone(current: &Version, versions: [&Version; 2], place: &Place) -> (Step, String) {
        let planned = back(current, versions.map(Some), place).ok().unwrap();
        (planned.step, planned.remarks.join("; "))
    }

    #[test]
    fn a_cutover_writes_once_and_a_rollback_goes_back_to_what_was_kept() {
        let (source, target) = (version("1", "s", "u", "p"), version("2", "t", "u", "q"));
        let (to_source, to_target) = (place("s", "u", "p"), place("t", "u", "q"));
        assert!(written(&source, &to_target) == Step::Write { text: target.text.clone() });
        assert!(written(&target, &to_target) == Step::Nothing);
        let kept = || Step::Back { id: "1".into(), text: source.text.clone() };
        assert!(undone(&target, [&source, &target], &to_source) == (kept(), String::new()));
        assert!(undone(&source, [&source, &target], &to_source) == (Step::Nothing, String::new()));
        // What the cutover wrote is not known any more.
        let planned = back(&target, [Some(&source), None], &to_source).ok().unwrap();
        assert!(planned.step == kept() && planned.remarks.is_empty());
        // Nothing was kept, or it was rotated since: it is written.
        let step = back(&target, [None, None], &to_source).ok().unwrap().step;
        assert!(step == Step::Write { text: source.text.clone() });
        let text = version("", "s", "u", "new").text;
        let (rotated, _) = undone(&target, [&source, &target], &place("s", "u", "new"));
        assert!(rotated == Step::Write { text });
    }

    #[test]
    fn a_rollback_leaves_the_applications_own_login_and_spelling_alone() {
        let (source, target) = (version("1", "S.example", "app", "p"), version("2", "t", "u", "q"));
        for way in ["s.example", "127.0.0.1", "alias.example"] {
            let (step, _) = undone(&target, [&source, &target], &place(way, "operator", "x"));
            assert!(step == Step::Back { id: "1".into(), text: source.text.clone() }, "{way}");
        }
    }

    #[test]
    fn a_rollback_keeps_what_somebody_has_changed_since_and_says_so() {
        let (source, target) = (version("1", "s", "u", "p"), version("2", "t", "u", "q"));
        let edit = |version: &Version| Version {
            id: "3".into(),
            text: version.text.replacen('{', r#"{"note":"hunter2","#, 1),
        };
        let (step, said) = undone(&edit(&target), [&source, &target], &place("s", "u", "p"));
        assert!(step == Step::Write { text: edit(&source).text });
        assert_eq!(said, "1 other key changed since the cutover stays");
        let rotated = version("3", "t", "u", "hunter2");
        let (step, said) = undone(&rotated, [&source, &target], &place("s", "u", "p"));
        assert!(step == Step::Back { id: "1".into(), text: source.text.clone() });
        assert_eq!(said, "changed since the cutover, and now as before it: password");
        let elsewhere = version("3", "proxy", "u", "q");
        let why = back(&elsewhere, [Some(&source), Some(&target)], &place("s", "u", "p")).err();
        assert!(why.unwrap().contains("changed its host since the cutover"));
    }

    #[test]
    fn an_address_of_this_machine_is_not_told_to_an_application_elsewhere() {
        let source = version("1", "db.example", "u", "p");
        let why = ahead(&source, &place("127.0.0.1", "u", "p")).err();
        assert!(why.unwrap().contains("hostaddr"));
        let local = version("1", "localhost", "u", "p");
        assert!(ahead(&local, &place("127.0.0.1", "u", "p")).is_ok());
    }

    #[test]
    fn a_label_has_one_holder() {
        let labels = vec![("a".to_owned(), vec!["x".to_owned()]), ("b".into(), vec!["y".into()])];
        assert_eq!((holder(&labels, "y"), holder(&labels, "z")), (Some("b"), None));
    }
}
