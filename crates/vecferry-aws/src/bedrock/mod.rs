//! Bedrock's text embedding models behind [`Embedder`], by `InvokeModel`. The SDK repeats nothing here: pacing and
//! repeating belong to `vecferry_embed::embedding`, which sees every throttle and so finds out what the account bears.

mod family;
mod outcome;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_bedrockruntime::Client;
use aws_sdk_bedrockruntime::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_bedrockruntime::config::retry::RetryConfig;
use aws_sdk_bedrockruntime::config::timeout::TimeoutConfig;
use aws_sdk_bedrockruntime::config::{Builder, ConfigBag, Intercept, Region, RuntimeComponents};
use aws_sdk_bedrockruntime::error::BoxError;
use aws_sdk_bedrockruntime::primitives::Blob;
use vecferry_core::Error;
use vecferry_embed::embedder::{Embedder, Embeddings, Failure, Model};

use crate::Account;
use family::Family;

/// Longest time for a connection.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest time for a call. A full batch takes well under a second; the service's own limit is 60 s
/// (`ModelTimeoutException`).
const CALL: Duration = Duration::from_secs(70);

/// Header with the tokens that were billed.
const TOKENS: &str = "x-amzn-bedrock-input-token-count";

/// An embedding model of Bedrock.
#[derive(Debug, Clone)]
pub struct Bedrock {
    model: Model,
    family: Family,
    /// What is called: the model's id, or that of an inference profile for it.
    invoked: String,
    client: Client,
}

impl Bedrock {
    /// A client for a model; nothing is called yet.
    ///
    /// `id` is the model's id, alone (`cohere.embed-multilingual-v3`) or as an inference profile
    /// (`us.cohere.embed-v4:0`, or such a profile's ARN). `dimensions` chooses among the lengths that the model makes;
    /// without it the model's usual one is taken (1024; 1536 for Cohere Embed v4). `region` is where the model is
    /// called, when that is not the account's: models are offered in some regions only.
    ///
    /// # Errors
    /// [`Error::Configuration`] for a model or a length that is not known, naming those that are.
    pub fn new(
        account: &Account,
        id: &str,
        dimensions: Option<usize>,
        region: Option<&str>,
    ) -> Result<Bedrock, Error> {
        let (family, base) = Family::of(id).ok_or_else(|| unknown_model(id))?;
        let dimensions = dimensions.unwrap_or(family.dimensions()[0]);
        if !family.dimensions().contains(&dimensions) {
            return Err(unknown_length(base, family, dimensions));
        }
        let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT).operation_timeout(CALL);
        let mut config = Builder::from(account.config())
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts.build());
        if let Some(region) = region {
            config = config.region(Region::new(region.to_owned()));
        }
        let client = Client::from_conf(config.build());
        let model = family.model(base, dimensions);
        Ok(Bedrock { model, family, invoked: id.to_owned(), client })
    }

    /// Id of the model behind an id or inference profile, when it is known.
    pub fn base(id: &str) -> Option<&'static str> {
        Family::of(id).map(|(_, base)| base)
    }

    /// Ids of the models that are known.
    pub fn known() -> impl Iterator<Item = &'static str> {
        family::KNOWN.iter().map(|(id, _)| *id)
    }
}

fn unknown_model(id: &str) -> Error {
    let known: Vec<&str> = Bedrock::known().collect();
    Error::Configuration {
        what: format!("{id} is no embedding model that vecferry knows on Bedrock"),
        hint: Some(format!(
            "known are {}, each also behind an inference profile such as us.{}",
            known.join(", "),
            family::KNOWN[2].0
        )),
    }
}

fn unknown_length(model: &str, family: Family, dimensions: usize) -> Error {
    let lengths: Vec<String> = family.dimensions().iter().map(usize::to_string).collect();
    Error::Configuration {
        what: format!("{model} makes no vectors of {dimensions} dimensions"),
        hint: Some(format!("it makes {}", lengths.join(", "))),
    }
}

#[async_trait]
impl Embedder for Bedrock {
    fn model(&self) -> &Model {
        &self.model
    }

    async fn embed(&self, texts: &[String]) -> Result<Embeddings, Failure> {
        let body = self.family.request(texts, self.model.dimensions).map_err(Failure::Permanent)?;
        let counted = Counted::default();
        let call = self
            .client
            .invoke_model()
            .model_id(&self.invoked)
            .content_type("application/json")
            .accept("application/json")
            .body(Blob::new(body.to_string()));
        match call.customize().interceptor(counted.clone()).send().await {
            Ok(answer) => {
                let (vectors, tokens) =
                    self.family.read(answer.body().as_ref()).map_err(Failure::Permanent)?;
                Ok(Embeddings { vectors, tokens: tokens.or(counted.tokens()) })
            }
            Err(error) => Err(outcome::failure(&error, texts)),
        }
    }
}

/// Reads the token header, which the operation's own output leaves out.
#[derive(Debug, Clone, Default)]
struct Counted(Arc<AtomicU64>);

impl Counted {
    fn tokens(&self) -> Option<u64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|tokens| *tokens > 0)
    }
}

impl Intercept for Counted {
    fn name(&self) -> &'static str {
        "token count"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let header = context.response().headers().get(TOKENS);
        if let Some(tokens) = header.and_then(|value| value.trim().parse().ok()) {
            self.0.store(tokens, Ordering::Relaxed);
        }
        Ok(())
    }
}
