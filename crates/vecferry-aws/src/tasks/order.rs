//! What a `RunTask` is made of: the bot's keys for every generation of workers, the name that finds a migration's
//! tasks again, tags. Pure, and the way back from a described task to its bot.

use std::fmt::Write as _;

use serde::Deserialize;
use vecferry_core::bot::BotKey;
use vecferry_core::reembed::task::Launch;

/// Environment variable that carries the keys to Bedrock Chat's worker from v1.2.5 on
/// (backend/embedding/main.py and the `containerOverrides` of cdk/lib/constructs/embedding.ts).
pub(super) const EVENT: &str = "EVENT";

/// Environment variable that carries the launch's token to vecferry's own worker.
pub(super) const TOKEN: &str = "VECFERRY_TOKEN";

/// Environment variable that carries the migration's id to vecferry's own worker.
pub(super) const MIGRATION: &str = "VECFERRY_MIGRATION";

/// Arguments before the keys for Bedrock Chat's worker up to v1.2.4, whose image has the entry point `python3`
/// (backend/embedding/Dockerfile; docs/migration/migrate.py passes the same).
const COMMAND: [&str; 2] = ["-u", "embedding/main.py"];

/// Characters of `startedBy` (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/API_RunTask.html>).
const STARTED_BY: usize = 128;

/// Characters of a tag's value (same page).
const TAG: usize = 256;

/// The item's keys as DynamoDB streams write them, which is what workers parse.
///
/// ASCII only: the text passes through arguments and environment of a container whose locale nobody knows, and a JSON
/// escape means the same everywhere.
pub(super) fn keys(bot: &BotKey) -> String {
    let sort = format!("{}{INFIX}{}", bot.owner, bot.id);
    let json = serde_json::json!({ "PK": { "S": bot.owner }, "SK": { "S": sort } }).to_string();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii() {
            ascii.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut [0; 2]) {
            // Writing to a string cannot fail.
            let _ = write!(ascii, "\\u{unit:04x}");
        }
    }
    ascii
}

/// Stands between owner and bot in the sort key.
const INFIX: &str = "#BOT#";

#[derive(Deserialize)]
struct Keys {
    #[serde(rename = "PK")]
    partition: Text,
    #[serde(rename = "SK")]
    sort: Text,
}

#[derive(Deserialize)]
struct Text {
    #[serde(rename = "S")]
    text: String,
}

/// The bot that [`keys`] (or the application, or its migration script) named.
pub(super) fn bot(keys: &str) -> Option<BotKey> {
    let keys: Keys = serde_json::from_str(keys).ok()?;
    let id = keys.sort.text.strip_prefix(&keys.partition.text)?.strip_prefix(INFIX)?.to_owned();
    Some(BotKey { owner: keys.partition.text, id })
}

/// Arguments of the container: those that older workers need. Newer ones never look at their arguments.
pub(super) fn command(bot: &BotKey) -> Vec<String> {
    COMMAND.into_iter().map(str::to_owned).chain([keys(bot)]).collect()
}

/// Environment of the container: the keys, the launch's own pairs, token and migration. Each name once; ours wins.
pub(super) fn environment(launch: &Launch) -> Vec<(String, String)> {
    let ours = [
        (EVENT, keys(&launch.bot)),
        (TOKEN, launch.token.clone()),
        (MIGRATION, launch.migration.clone()),
    ];
    let mut pairs: Vec<(String, String)> = Vec::with_capacity(launch.environment.len() + 3);
    for (name, value) in &launch.environment {
        if ours.iter().any(|(own, _)| own == name) {
            continue;
        }
        pairs.retain(|(known, _)| known != name);
        pairs.push((name.clone(), value.clone()));
    }
    pairs.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    pairs
}

/// The `startedBy` that finds a migration's tasks again: letters, digits, `-`, `_` and `/`, 128 at most. Where that
/// takes something away, a hash of the whole keeps two migrations apart.
pub(super) fn started_by(prefix: &str, migration: &str) -> String {
    let whole = format!("{prefix}{migration}");
    let allowed =
        |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '_' | '/');
    if whole.len() <= STARTED_BY && whole.chars().all(allowed) {
        return whole;
    }
    let hash = format!("-{:016x}", xxhash_rust::xxh3::xxh3_64(whole.as_bytes()));
    let kept = whole.chars().map(|character| if allowed(character) { character } else { '_' });
    kept.take(STARTED_BY - hash.len()).chain(hash.chars()).collect()
}

/// Tags of the task: who it works for. A character that tags may not have becomes `_`.
pub(super) fn tags(launch: &Launch) -> [(&'static str, String); 3] {
    let allowed = |character: char| character.is_alphanumeric() || " +-=._:/@".contains(character);
    let value = |text: &str| {
        let fits = text.chars().map(|one| if allowed(one) { one } else { '_' });
        fits.take(TAG).collect::<String>()
    };
    [
        ("vecferry:migration", value(&launch.migration)),
        ("vecferry:token", value(&launch.token)),
        ("vecferry:bot", value(&launch.bot.id)),
    ]
}

/// Whether the service takes this client token: 1 to 64 characters from 33 to 126
/// (<https://docs.aws.amazon.com/AmazonECS/latest/APIReference/ECS_Idempotency.html>).
pub(super) fn is_token(token: &str) -> bool {
    (1..=64).contains(&token.len()) && token.bytes().all(|byte| (33..=126).contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(owner: &str) -> Launch {
        Launch {
            bot: BotKey { owner: owner.into(), id: "01HZ0000000000000000000000".into() },
            migration: "019a".into(),
            attempt: 1,
            token: "019a-1".into(),
            environment: Vec::new(),
        }
    }

    #[test]
    fn keys_are_the_items_keys() {
        assert_eq!(
            keys(&launch("user").bot),
            r#"{"PK":{"S":"user"},"SK":{"S":"user#BOT#01HZ0000000000000000000000"}}"#
        );
    }

    #[test]
    fn keys_are_ascii_and_name_the_same_bot_whatever_the_owner_is_called() {
        let owners = [
            "user",
            "Zoë \"the\" \\ one",
            "日本語 😀",
            "a#BOT#b",
            "tab\tand\nline",
            "$(rm) `x` '",
            "",
        ];
        for owner in owners {
            let bot_key = launch(owner).bot;
            let keys = keys(&bot_key);
            assert!(keys.is_ascii(), "{keys}");
            assert_eq!(bot(&keys), Some(bot_key));
        }
    }

    #[test]
    fn keys_written_by_pythons_json_are_read() {
        let keys = r#"{"PK": {"S": "u\u00e9"}, "SK": {"S": "u\u00e9#BOT#b"}}"#;
        assert_eq!(bot(keys), Some(BotKey { owner: "ué".into(), id: "b".into() }));
    }

    #[test]
    fn text_that_is_not_a_bots_keys_names_no_bot() {
        for text in [
            "",
            "embedding/main.py",
            "{}",
            r#"{"PK":{"S":"a"},"SK":{"S":"b#BOT#c"}}"#,
            r#"{"PK":{"S":"a"},"SK":{"S":"a#BOT_ALIAS#c"}}"#,
        ] {
            assert_eq!(bot(text), None, "{text}");
        }
    }

    #[test]
    fn every_name_is_in_the_environment_once_and_ours_wins() {
        let mut launch = launch("user");
        for (name, value) in [("A", "1"), ("EVENT", "x"), ("A", "2"), ("VECFERRY_TOKEN", "y")] {
            launch.environment.push((name.into(), value.into()));
        }
        let names: Vec<_> = environment(&launch);
        let expected = [
            ("A", "2".to_owned()),
            ("EVENT", keys(&launch.bot)),
            ("VECFERRY_TOKEN", "019a-1".into()),
            ("VECFERRY_MIGRATION", "019a".into()),
        ];
        assert_eq!(names, expected.map(|(name, value)| (name.to_owned(), value)));
    }

    #[test]
    fn started_by_has_only_what_the_service_takes() {
        assert_eq!(started_by("vecferry/", "019a-7b"), "vecferry/019a-7b");
        for migration in ["ü", "a b", "a.b", &"x".repeat(200), "日本"] {
            let name = started_by("vecferry/", migration);
            assert!(name.starts_with("vecferry/") && name.len() <= 128, "{name}");
            assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || "-_/".contains(c)), "{name}");
        }
    }

    #[test]
    fn migrations_that_look_alike_after_cleaning_keep_their_own_names() {
        assert_ne!(started_by("vecferry/", "a.b"), started_by("vecferry/", "a b"));
        let long = "x".repeat(200);
        assert_ne!(started_by("v/", &format!("{long}1")), started_by("v/", &format!("{long}2")));
    }

    #[test]
    fn tags_have_only_what_tags_may_have() {
        let mut launch = launch("user");
        launch.migration = format!("a|b{}", "x".repeat(300));
        let tags = tags(&launch);
        assert!(tags[0].1.starts_with("a_bx"));
        assert!(tags.iter().all(|(_, value)| value.chars().count() <= 256));
    }

    #[test]
    fn a_token_is_1_to_64_visible_characters() {
        assert!(is_token("a") && is_token(&"~".repeat(64)));
        for token in ["", "a b", "ü", "tab\t", &"a".repeat(65)] {
            assert!(!is_token(token), "{token}");
        }
    }
}
