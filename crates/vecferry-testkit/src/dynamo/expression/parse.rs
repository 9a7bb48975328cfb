//! Understands expressions: recursive descent, one function a rule. Pure.
//!
//! ```text
//! condition = and { OR and }                  and  = not { AND not }           not = NOT not | term
//! term      = "(" condition ")" | function | name "=" value | name IN "(" value { "," value } ")"
//! function  = attribute_exists "(" name ")" | attribute_not_exists "(" name ")" | contains "(" name "," value ")"
//! update    = SET name "=" value { "," name "=" value }
//! ```
//!
//! `NOT a IN (…)` is `NOT (a IN (…))`: comparisons bind tighter than `NOT`.

use std::iter::Peekable;
use std::vec::IntoIter;

use serde_json::Value;

use super::super::refusal::Refusal;
use super::word::{Word, words};
use super::{Condition, Placeholders};

/// Most parentheses and NOTs inside one another: a parser that calls itself must end somewhere.
const DEPTH: u32 = 64;

pub(super) fn condition(text: &str, names: &Placeholders<'_>) -> Result<Condition, Refusal> {
    let mut parser = Parser::new(text, names)?;
    let condition = parser.condition(DEPTH)?;
    parser.end().map(|()| condition)
}

pub(super) fn update(
    text: &str,
    names: &Placeholders<'_>,
) -> Result<Vec<(String, Value)>, Refusal> {
    let mut parser = Parser::new(text, names)?;
    if !parser.keyword("SET") {
        return Err(parser.unknown());
    }
    let mut sets: Vec<(String, Value)> = Vec::new();
    loop {
        let name = parser.name()?;
        if sets.iter().any(|(other, _)| *other == name) {
            let message = "Two document paths overlap with each other";
            return Err(Refusal::invalid(message));
        }
        parser.sign('=')?;
        let placeholder = parser.placeholder()?;
        sets.push((name, names.value(&placeholder)?));
        if !parser.has_sign(',') {
            return parser.end().map(|()| sets);
        }
    }
}

pub(super) fn projection(text: &str, names: &Placeholders<'_>) -> Result<Vec<String>, Refusal> {
    let mut parser = Parser::new(text, names)?;
    let mut wanted = vec![parser.name()?];
    while parser.has_sign(',') {
        wanted.push(parser.name()?);
    }
    parser.end().map(|()| wanted)
}

struct Parser<'a> {
    words: Peekable<IntoIter<Word>>,
    names: &'a Placeholders<'a>,
}

impl<'a> Parser<'a> {
    fn new(text: &str, names: &'a Placeholders<'a>) -> Result<Parser<'a>, Refusal> {
        Ok(Parser { words: words(text)?.into_iter().peekable(), names })
    }

    fn condition(&mut self, depth: u32) -> Result<Condition, Refusal> {
        let mut all = self.and(depth)?;
        while self.keyword("OR") {
            all = Condition::Or(Box::new(all), Box::new(self.and(depth)?));
        }
        Ok(all)
    }

    fn and(&mut self, depth: u32) -> Result<Condition, Refusal> {
        let mut all = self.not(depth)?;
        while self.keyword("AND") {
            all = Condition::And(Box::new(all), Box::new(self.not(depth)?));
        }
        Ok(all)
    }

    fn not(&mut self, depth: u32) -> Result<Condition, Refusal> {
        let Some(depth) = depth.checked_sub(1) else {
            return Err(Refusal::invalid("Invalid expression: too deeply nested"));
        };
        if self.keyword("NOT") {
            return Ok(Condition::Not(Box::new(self.not(depth)?)));
        }
        self.term(depth)
    }

    fn term(&mut self, depth: u32) -> Result<Condition, Refusal> {
        if self.has_sign('(') {
            let inner = self.condition(depth)?;
            return self.sign(')').map(|()| inner);
        }
        match self.words.peek() {
            Some(Word::Name(_)) => self.comparison(),
            Some(Word::Bare(_)) => self.function(),
            _ => Err(self.unknown()),
        }
    }

    fn comparison(&mut self) -> Result<Condition, Refusal> {
        let name = self.name()?;
        if self.has_sign('=') {
            return Ok(Condition::OneOf(name, vec![self.text()?]));
        }
        if !self.keyword("IN") {
            return Err(self.unknown());
        }
        self.sign('(')?;
        let mut texts = vec![self.text()?];
        while self.has_sign(',') {
            texts.push(self.text()?);
        }
        self.sign(')').map(|()| Condition::OneOf(name, texts))
    }

    /// Functions' names are written small, unlike keywords, which may be written in any way.
    fn function(&mut self) -> Result<Condition, Refusal> {
        const KNOWN: [&str; 3] = ["attribute_exists", "attribute_not_exists", "contains"];
        let named =
            |word: &Word| KNOWN.into_iter().find(|known| *word == Word::Bare((*known).into()));
        let Some(function) = self.words.peek().and_then(named) else { return Err(self.unknown()) };
        self.words.next();
        self.sign('(')?;
        let name = self.name()?;
        let condition = match function {
            "attribute_exists" => Condition::Exists(name),
            "attribute_not_exists" => Condition::Not(Box::new(Condition::Exists(name))),
            _ => {
                self.sign(',')?;
                Condition::Contains(name, self.text()?)
            }
        };
        self.sign(')').map(|()| condition)
    }

    fn name(&mut self) -> Result<String, Refusal> {
        match self.words.next_if(|word| matches!(word, Word::Name(_))) {
            Some(Word::Name(placeholder)) => self.names.name(&placeholder),
            _ => Err(self.unknown()),
        }
    }

    fn text(&mut self) -> Result<String, Refusal> {
        let placeholder = self.placeholder()?;
        self.names.text(&placeholder)
    }

    fn placeholder(&mut self) -> Result<String, Refusal> {
        match self.words.next_if(|word| matches!(word, Word::Value(_))) {
            Some(Word::Value(placeholder)) => Ok(placeholder),
            _ => Err(self.unknown()),
        }
    }

    fn keyword(&mut self, keyword: &str) -> bool {
        let is =
            |word: &Word| matches!(word, Word::Bare(bare) if bare.eq_ignore_ascii_case(keyword));
        self.words.next_if(is).is_some()
    }

    fn has_sign(&mut self, sign: char) -> bool {
        self.words.next_if_eq(&Word::Sign(sign)).is_some()
    }

    fn sign(&mut self, sign: char) -> Result<(), Refusal> {
        if self.has_sign(sign) { Ok(()) } else { Err(self.unknown()) }
    }

    fn end(&mut self) -> Result<(), Refusal> {
        if self.words.peek().is_none() { Ok(()) } else { Err(self.unknown()) }
    }

    /// The word that is next is not one that may stand here, or that this double knows.
    fn unknown(&mut self) -> Refusal {
        let next = match self.words.peek() {
            None => "<EOF>".to_owned(),
            Some(Word::Name(text) | Word::Value(text) | Word::Bare(text)) => text.clone(),
            Some(Word::Sign(sign)) => sign.to_string(),
        };
        Refusal::invalid(format!(
            "Invalid expression: Syntax error, or beyond what this double knows; token: {next:?}"
        ))
    }
}
