//! A BERT sentence-transformer (all-MiniLM-L6-v2 and its like) on candle: tokenize, run, take the
//! mean over the tokens, scale to length 1. Built in rather than called through Python or ONNX, so
//! that the demo and an offline worker need nothing installed.

use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use tokenizers::{PaddingParams, Tokenizer, TruncationParams};

/// What the model was trained with; text beyond it does not count. (The tokenizer's own file says
/// 128, which is not what the model's `sentence_bert_config.json` says.)
pub const MAX_TOKENS: usize = 256;

/// Texts run together. More at once gains nothing on a CPU, but attention's memory grows with it.
const BATCH: usize = 16;

/// Why there is no model, or no embedding.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file of the model is missing or unreadable.
    #[error("read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// The configuration is not that of a BERT model.
    #[error("understand {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: serde_json::Error,
    },
    /// The tokenizer's file is broken, or it could not take a text.
    #[error("{action}")]
    Tokenizer {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: tokenizers::Error,
    },
    /// The weights do not fit the configuration, or the computation failed.
    #[error("{action}")]
    Model {
        /// What was being done.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: candle_core::Error,
    },
}

/// A loaded model.
pub struct LocalModel {
    bert: BertModel,
    tokenizer: Tokenizer,
    dimensions: usize,
}

impl LocalModel {
    /// Loads `config.json`, `tokenizer.json` and `model.safetensors` from a folder.
    pub fn load(folder: &Path) -> Result<LocalModel, Error> {
        let config_path = folder.join("config.json");
        let config: Config = serde_json::from_slice(&read(&config_path)?)
            .map_err(|source| Error::Config { path: config_path, source })?;
        let tokenizer = load_tokenizer(&read(&folder.join("tokenizer.json"))?)
            .map_err(tokenizing("load the tokenizer"))?;
        // Read, not mapped: a mapping is `unsafe`, and the file is no more than some 90 MB.
        let weights = read(&folder.join("model.safetensors"))?;
        let dimensions = config.hidden_size;
        let bert = VarBuilder::from_buffered_safetensors(weights, DType::F32, &Device::Cpu)
            .and_then(|weights| BertModel::load(weights, &config))
            .map_err(computing("load the model"))?;
        Ok(LocalModel { bert, tokenizer, dimensions })
    }

    /// The length of every vector this model makes.
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// One vector of length 1 for each text, in order.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            vectors.extend(self.embed_batch(batch)?);
        }
        Ok(vectors)
    }

    fn embed_batch(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>, Error> {
        let encoded = self
            .tokenizer
            .encode_batch(texts.to_vec(), true)
            .map_err(tokenizing("tokenize a text"))?;
        let ids: Vec<&[u32]> = encoded.iter().map(|text| text.get_ids()).collect();
        let mask: Vec<&[u32]> = encoded.iter().map(|text| text.get_attention_mask()).collect();
        self.run(&ids, &mask).map_err(computing("compute embeddings"))
    }

    fn run(&self, ids: &[&[u32]], mask: &[&[u32]]) -> candle_core::Result<Vec<Vec<f32>>> {
        let ids = Tensor::new(ids.concat(), &Device::Cpu)?.reshape((ids.len(), ids[0].len()))?;
        let mask = Tensor::new(mask.concat(), &Device::Cpu)?.reshape(ids.shape())?;
        let tokens = self.bert.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        // The mean over real tokens only: padding must not change a text's vector.
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let mean = tokens.broadcast_mul(&mask)?.sum(1)?.broadcast_div(&mask.sum(1)?)?;
        let length = mean.sqr()?.sum_keepdim(1)?.sqrt()?;
        mean.broadcast_div(&length)?.to_vec2()
    }
}

fn load_tokenizer(bytes: &[u8]) -> Result<Tokenizer, tokenizers::Error> {
    let mut tokenizer = Tokenizer::from_bytes(bytes)?;
    let truncation = TruncationParams { max_length: MAX_TOKENS, ..Default::default() };
    tokenizer.with_truncation(Some(truncation))?;
    // To the longest text of the batch, whatever fixed length the file asks for.
    tokenizer.with_padding(Some(PaddingParams::default()));
    Ok(tokenizer)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    std::fs::read(path).map_err(|source| Error::File { path: path.to_owned(), source })
}

fn tokenizing(action: &'static str) -> impl FnOnce(tokenizers::Error) -> Error {
    move |source| Error::Tokenizer { action, source }
}

fn computing(action: &'static str) -> impl FnOnce(candle_core::Error) -> Error {
    move |source| Error::Model { action, source }
}
