//! The table that is built in, and files that replace parts of it.

use super::*;

fn replaced(text: &str) -> Result<Prices> {
    Prices::published()?.replaced_with(text, "mine.toml")
}

#[test]
fn every_published_price_has_a_page_and_a_day() {
    let prices = Prices::published().unwrap();
    let quotes: Vec<&Quote> = prices.items.iter().chain(prices.embedding.values()).collect();
    for (at, item) in Item::ALL.into_iter().enumerate() {
        assert_eq!(item as usize, at);
    }
    for quote in quotes {
        assert!(quote.usd > 0.0 && quote.usd < 1.0, "{quote:?}");
        assert!(quote.source.starts_with("https://aws.amazon.com/"), "{quote:?}");
        let day: Result<jiff::civil::Date, _> = quote.as_of.as_deref().unwrap().parse();
        assert!(day.is_ok(), "{quote:?}");
    }
    assert_eq!(prices.region(), "us-east-1");
}

#[test]
fn a_model_has_its_price_under_an_inference_profile_too() {
    let prices = Prices::published().unwrap();
    let of = |model: &str| prices.embedding(model).map(|quote| quote.usd);
    assert_eq!(of("cohere.embed-multilingual-v3"), Some(0.10));
    assert_eq!(of("eu.cohere.embed-v4:0"), Some(0.12));
    assert_eq!(of("mycohere.embed-v4:0"), None);
    assert_eq!(of("text-embedding-3-small"), None);
}

#[test]
fn a_file_replaces_single_values_in_either_way_of_writing() {
    let prices = replaced(
        "region = 'eu-west-1'\naurora_acu_hour = 0.14\nsecret_month = { usd = 1, as_of = '2026-01-01' }\n\
         [embedding]\n'cohere.embed-v4:0' = 0.13\n'eu.cohere.embed-v4:0' = 0.2\n'new.model' = 0",
    )
    .unwrap();
    assert_eq!(prices.usd(Item::AuroraAcuHour), 0.14);
    assert_eq!(prices.usd(Item::SecretMonth), 1.0);
    assert_eq!(prices.usd(Item::FargateGbHour), 0.004_445, "the rest stays");
    assert_eq!(prices.quote(Item::AuroraAcuHour).source, "mine.toml");
    let of = |model: &str| prices.embedding(model).map(|quote| quote.usd);
    assert_eq!(of("us.cohere.embed-v4:0"), Some(0.13));
    assert_eq!(of("eu.cohere.embed-v4:0"), Some(0.2), "the profile's own price");
    assert_eq!(of("new.model"), Some(0.0));
    assert_eq!(of("cohere.embed-multilingual-v3"), Some(0.10));
    assert!(prices.note(Some("eu-west-1")).starts_with("prices of mine.toml, else"));
    assert!(!prices.note(Some("eu-west-1")).contains("differ"));
}

#[test]
fn every_mistake_in_a_file_is_named_with_its_line_and_the_nearest_word() {
    let told = replaced(
        "aurora_acu_hours = 0.1\nsecret_month = -1\nfargate_gb_hour = 'x'\nwhatever = 1\n\
         [transfer_zone_gb]\nusds = 0.1\n[embedding]\nm = { usd = 1, source = 2 }",
    )
    .unwrap_err()
    .to_string();
    for part in [
        "mine.toml: line 1: unknown key `aurora_acu_hours`, did you mean `aurora_acu_hour`?",
        "line 2: `secret_month` must be a number of USD",
        "line 3: `fargate_gb_hour` must be",
        "line 4: unknown key `whatever`",
        "line 6: unknown key `usds`, did you mean `usd`?",
        "`transfer_zone_gb` has no `usd`",
        "line 8: `source` is of the wrong type",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    assert!(replaced("a = [").unwrap_err().to_string().contains("line 1"));
}

#[test]
fn another_region_is_pointed_out() {
    let prices = Prices::published().unwrap();
    assert!(prices.note(Some("ap-northeast-1")).contains("those of ap-northeast-1 differ"));
    assert!(!prices.note(Some("us-east-1")).contains("differ"));
    assert!(!prices.note(None).contains("differ"));
}

#[test]
fn what_is_no_file_of_prices_is_refused_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let huge = folder.path().join("huge.toml");
    std::fs::File::create(&huge).unwrap().set_len(KIND.most_bytes + 1).unwrap();
    let binary = folder.path().join("binary.toml");
    std::fs::write(&binary, [0xff, 0xfe]).unwrap();
    let read = |path: &Path| Prices::published().unwrap().replaced_by(path);
    for (path, why) in [
        (pipe.as_path(), "is not a regular file"),
        (Path::new("/dev/zero"), "is not a regular file"),
        (&huge, "is larger than 1 MiB"),
        (&binary, "is not text in UTF-8"),
    ] {
        let Err(Error::Configuration { what, hint }) = read(path) else {
            panic!("{} was read", path.display())
        };
        assert!(what.ends_with(why) && hint.is_some(), "{what}");
    }
    assert!(matches!(read(&folder.path().join("none.toml")), Err(Error::Local { .. })));
    let fine = folder.path().join("fine.toml");
    std::fs::write(&fine, "secret_month = 0.5").unwrap();
    assert_eq!(read(&fine).unwrap().usd(Item::SecretMonth), 0.5);
}
