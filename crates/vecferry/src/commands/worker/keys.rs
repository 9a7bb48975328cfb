//! Which bot a task is for, in every form in which launches have said so.
//!
//! Bedrock Chat hands over the keys of the bot's item, `{"PK":{"S":"<owner>"},"SK":{"S":"<owner>#BOT#<id>"}}`: as the
//! last argument after `-u embedding/main.py` up to v1.2.4, in the variable EVENT since v1.2.5 (there possibly inside
//! the whole stream record, under `dynamodb.Keys` or `Keys`).

use serde_json::Value;
use vecferry_core::bot::BotKey;

use crate::error::{Error, Mistake};

/// What separates owner and id in an item's SK.
const SEPARATOR: &str = "#BOT#";

/// The bot that the flag names, else the variable EVENT, else the arguments.
pub(super) fn bot_of(
    flag: Option<&str>,
    event: Option<&str>,
    arguments: &[String],
) -> Result<BotKey, Error> {
    if let Some(name) = flag {
        let Some((owner, id)) = name.rsplit_once('/') else {
            let what = format!("--bot {name:?} is not OWNER/ID");
            return Err(Mistake::new(what, "write the owner, a slash and the bot's id").into());
        };
        return Ok(BotKey { owner: owner.into(), id: id.into() });
    }
    let candidates = event.into_iter().chain(arguments.iter().rev().map(String::as_str));
    let mut given = false;
    for text in candidates.filter(|text| text.trim_start().starts_with('{')) {
        given = true;
        if let Some(key) = serde_json::from_str(text).ok().as_ref().and_then(key_of) {
            return Ok(key);
        }
    }
    let hint = "pass --bot OWNER/ID, or the keys of its item in EVENT or as the last argument: \
                {\"PK\":{\"S\":\"owner\"},\"SK\":{\"S\":\"owner#BOT#id\"}}";
    let what = match given {
        true => "the keys handed over do not name a bot",
        false => "no bot was handed over",
    };
    Err(Mistake::new(what, hint).into())
}

/// Reads the keys, alone or inside a stream record.
fn key_of(value: &Value) -> Option<BotKey> {
    let keys = [value.get("dynamodb").and_then(|record| record.get("Keys")), value.get("Keys")]
        .into_iter()
        .flatten()
        .next()
        .unwrap_or(value);
    let text = |name: &str| {
        let value = keys.get(name)?;
        value.get("S").unwrap_or(value).as_str()
    };
    let (owner, sort) = (text("PK")?, text("SK")?);
    let id = sort.strip_prefix(owner)?.strip_prefix(SEPARATOR)?;
    (!id.is_empty()).then(|| BotKey { owner: owner.into(), id: id.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &str = r#"{"PK":{"S":"u\"1"},"SK":{"S":"u\"1#BOT#01HX"}}"#;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn both_contracts_of_bedrock_chat_name_the_bot() {
        let key = BotKey { owner: "u\"1".into(), id: "01HX".into() };
        let old = words(&["-u", "embedding/main.py", KEYS]);
        assert_eq!(bot_of(None, None, &old).unwrap(), key);
        assert_eq!(bot_of(None, Some(KEYS), &[]).unwrap(), key);
        assert_eq!(bot_of(None, Some(KEYS), &old).unwrap(), key);
        let record = format!(r#"{{"eventName":"MODIFY","dynamodb":{{"Keys":{KEYS}}}}}"#);
        assert_eq!(bot_of(None, Some(&record), &[]).unwrap(), key);
        let plain = r#"{"PK":"o","SK":"o#BOT#b"}"#;
        assert_eq!(
            bot_of(None, Some(plain), &[]).unwrap(),
            BotKey { owner: "o".into(), id: "b".into() }
        );
    }

    #[test]
    fn a_flag_wins_and_an_owner_may_hold_a_slash() {
        let key = bot_of(Some("a/b/c"), Some(KEYS), &[]).unwrap();
        assert_eq!(key, BotKey { owner: "a/b".into(), id: "c".into() });
        assert!(bot_of(Some("c"), None, &[]).is_err());
    }

    #[test]
    fn keys_that_name_no_bot_are_refused() {
        for keys in [
            "{",
            "{}",
            r#"{"PK":{"S":"u"},"SK":{"S":"u#CONV#1"}}"#,
            r#"{"PK":{"S":"u"},"SK":{"S":"v#BOT#1"}}"#,
        ] {
            let error = bot_of(None, Some(keys), &[]).unwrap_err();
            assert!(format!("{error:?}").contains("do not name a bot"), "{keys}");
        }
        assert!(format!("{:?}", bot_of(None, None, &[]).unwrap_err()).contains("no bot"));
    }
}
