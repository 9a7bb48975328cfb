//! Embeddings without a service: a sentence-transformer run in this process, on the CPU. Knows
//! nothing of databases or of the application; text goes in, vectors come out.

mod local;

pub use local::{Error, LocalModel};
