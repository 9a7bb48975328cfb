//! Estimates of bots that nobody has to embed.

use super::*;
use crate::bot::BotKey;

fn bot(documents: Vec<DocumentAddress>) -> Bot {
    Bot {
        key: BotKey { owner: "o".into(), id: "b".into() },
        title: "t".into(),
        documents,
        splitting: Splitting::default(),
        sync: None,
    }
}

const PACE: Pace = Pace {
    in_flight: 10,
    launches_per_second: 10.0,
    tokens_per_minute: Some(300_000),
    fargate: Some((2.0, 4.0)),
};

fn of(bots: &[(&Bot, BotSize)], pace: &Pace, price: Option<f64>, reuses: bool) -> Estimate {
    let prices = Prices::published().unwrap();
    estimate(bots, &Terms { pace, usd_per_million_tokens: price, prices: &prices, reuses })
}

/// Rows of the source with so many characters of this kind of text.
fn rows(chars: u64, sample: &str) -> BotSize {
    BotSize { source_chars: Some(chars), scripts: Some(Scripts::of(sample)), ..BotSize::default() }
}

#[test]
fn rows_on_the_source_say_exactly_how_much_text_there_is() {
    let bot = bot(vec![DocumentAddress::Page("https://a".into())]);
    let estimate = of(&[(&bot, rows(4_000_000, "Latin"))], &PACE, Some(0.10), false);
    assert_eq!((estimate.expected.tokens, estimate.measured), (1_000_000, 1));
    assert_eq!(estimate.guesses, Vec::<String>::new());
    assert!((estimate.expected.embedding_usd.unwrap() - 0.10).abs() < 1e-9);
    // A million tokens at 300 000 a minute.
    let hours = estimate.expected.hours;
    assert!((hours - (200.0 + 60.0) / 3600.0).abs() < 0.01, "{hours}");
    assert!(estimate.usd().unwrap() > 0.10);
    assert_eq!((estimate.low.tokens, estimate.high.tokens), (800_000, 1_200_000));
    let task = estimate.fargate.unwrap();
    assert!((estimate.expected.vcpu_hours - 2.0 * estimate.expected.task_hours).abs() < 1e-9);
    assert!((estimate.expected.gb_hours - 4.0 * estimate.expected.task_hours).abs() < 1e-9);
    let usd = task.usd(estimate.expected.task_hours);
    assert_eq!(estimate.expected.tasks_usd, Some(usd));
    assert!((task.usd(1.0) - (2.0 * 0.04048 + 4.0 * 0.004_445)).abs() < 1e-9);
}

#[test]
fn the_same_characters_cost_more_in_another_script() {
    let bot = bot(vec![]);
    let tokens =
        |sample: &str| of(&[(&bot, rows(40_000, sample))], &PACE, None, false).expected.tokens;
    assert_eq!((tokens("Latin"), tokens("한국어")), (10_000, 20_000));
    assert!(tokens("日本語の文書") > 28_000 && tokens("汉字") > 36_000);
}

#[test]
fn vectors_that_may_be_taken_from_the_source_make_the_least_nothing() {
    let (with_rows, without) = (bot(vec![]), bot(vec![DocumentAddress::File("a.txt".into())]));
    let file = BotSize { file_chars: 3_000, files: 1, ..BotSize::default() };
    let bots = [(&with_rows, rows(4_000, "a")), (&without, file)];
    let estimate = of(&bots, &PACE, Some(1.0), true);
    // The file's 3 000 characters, repeated by a quarter, at three a token; the least is four tenths of that.
    assert_eq!((estimate.expected.tokens, estimate.low.tokens), (1_000 + 1_250, 500));
    assert_eq!(estimate.high.tokens, 1_200 + 2_500);
}

#[test]
fn what_changed_since_the_rows_were_made_is_added_to_those_that_still_hold() {
    let bot = bot(vec![DocumentAddress::File("a.txt".into()), DocumentAddress::File("b".into())]);
    let fresh = Fresh { rows: 4, stale_rows: 2, file_chars: 400_000, ..Fresh::default() };
    let replaced = rows(8_000, "a").with(Some(fresh));
    let estimate = of(&[(&bot, replaced)], &PACE, Some(1.0), true);
    // Rows at four characters a token, and the file's, repeated by a quarter.
    assert_eq!((estimate.expected.tokens, estimate.measured), (1_000 + 125_000, 1));
    assert_eq!((estimate.low.tokens, estimate.high.tokens), (50_000, 1_200 + 250_000));
    assert_eq!(estimate.chunks, 404_000_u64.div_ceil(800));
    assert_eq!(estimate.guesses, Vec::<String>::new());
    let fresh = Fresh { pages: 1, sitemaps: 1, unsized_files: 1, ..Fresh::default() };
    let estimate = of(&[(&bot, BotSize::default().with(Some(fresh)))], &PACE, None, true);
    assert_eq!(
        estimate.expected.tokens,
        ((51_f64 * 20_000.0 + 50_000.0) * 1.25 / 3.0).ceil() as u64
    );
    assert_eq!((estimate.guesses.len(), estimate.measured), (4, 0), "{:?}", estimate.guesses);
}

#[test]
fn a_comparison_with_rows_that_the_source_does_not_have_says_nothing_of_the_size() {
    let fresh = Fresh { rows: 4, file_chars: 7, ..Fresh::default() };
    assert_eq!(BotSize::default().with(Some(fresh)), BotSize::default());
    assert_eq!(rows(4, "a").with(None), rows(4, "a"));
}

#[test]
fn what_nobody_has_read_is_guessed_and_said() {
    let documents = vec![
        DocumentAddress::Page("https://a".into()),
        DocumentAddress::Sitemap("https://a/sitemap.xml".into()),
        DocumentAddress::File("a.txt".into()),
        DocumentAddress::File("b.txt".into()),
    ];
    let bot = bot(documents);
    let size = BotSize { file_chars: 6_000, files: 1, ..BotSize::default() };
    let estimate = of(&[(&bot, size)], &PACE, None, true);
    let chars = 20_000 + 50 * 20_000 + 6_000 + 50_000;
    assert_eq!(estimate.expected.tokens, (f64::from(chars) * 1.25 / 3.0).ceil() as u64);
    assert_eq!(estimate.chunks, (chars as u64).div_ceil(800));
    assert_eq!(estimate.guesses.len(), 4, "{:?}", estimate.guesses);
    assert_eq!(estimate.usd(), None);
    let spread = estimate.high.tokens as f64 / estimate.low.tokens as f64;
    assert!((10.0..16.0).contains(&spread), "{spread}");
}

#[test]
fn the_script_of_names_stands_for_text_that_nobody_has_read() {
    let mut named = bot(vec![DocumentAddress::File("規程.txt".into())]);
    named.title = "社内".into();
    let size = BotSize { file_chars: 1_100, files: 1, ..BotSize::default() };
    let estimate = of(&[(&named, size)], &PACE, None, false);
    assert_eq!(estimate.expected.tokens, 1_250);
    assert!(estimate.guesses[0].contains("script of their title"), "{:?}", estimate.guesses);
}

#[test]
fn a_pdf_holds_less_text_than_its_bytes() {
    assert_eq!(chars_in_file("a.PDF", 1_000), 150);
    assert_eq!(chars_in_file("notes", 1_000), 1_000);
}

#[test]
fn launches_bound_the_hours_of_many_small_bots() {
    let bot = bot(vec![]);
    let bots = vec![(&bot, rows(30, "a")); 36_000];
    let pace = Pace { in_flight: 5_000, fargate: None, ..PACE };
    let estimate = of(&bots, &pace, None, false);
    assert!((estimate.expected.hours - 1.0).abs() < 0.01, "{}", estimate.expected.hours);
    assert_eq!((estimate.expected.tasks_usd, estimate.expected.vcpu_hours), (None, 0.0));
}

#[test]
fn bots_that_come_later_are_added() {
    let bot = bot(vec![]);
    let one = of(&[(&bot, rows(40_000, "a"))], &PACE, Some(0.1), false);
    let both = one.plus(&one);
    assert_eq!((both.bots, both.measured, both.chunks), (2, 2, 2 * one.chunks));
    assert_eq!(both.expected.tokens, 20_000);
    assert!((both.usd().unwrap() - 2.0 * one.usd().unwrap()).abs() < 1e-12);
    let unpriced = one.plus(&of(&[], &PACE, None, false));
    assert_eq!(unpriced.expected.embedding_usd, None);
}

#[test]
fn an_estimate_is_read_back_as_it_was_recorded() {
    let bot = bot(vec![]);
    let estimate = of(&[(&bot, rows(40_000, "a"))], &PACE, Some(0.1), true);
    let text = serde_json::to_string(&estimate).unwrap();
    let read: Estimate = serde_json::from_str(&text).unwrap();
    let tokens = |of: &Estimate| [of.low, of.expected, of.high].map(|amount| amount.tokens);
    assert_eq!((tokens(&read), read.fargate), (tokens(&estimate), estimate.fargate));
    assert!((read.usd().unwrap() - estimate.usd().unwrap()).abs() < 1e-12);
    assert!(text.contains("\"tokens\":10000"), "{text}");
}
