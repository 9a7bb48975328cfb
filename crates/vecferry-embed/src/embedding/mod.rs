//! Texts of many documents become vectors, as fast as the service allows and no faster.
//!
//! [`embed_all`] is the stream that a worker feeds: pieces go in with a tag, vectors come out with the same tag, in any
//! order. In between, batches are filled across documents (a call costs the same time for one text as for 96), several
//! calls are under way, the [`Pacer`] keeps to the account's quota and backs off when the service throttles, and a text
//! that the model refuses costs only itself. Nothing is durable here: what was answered and not yet stored is paid for
//! again after a crash, at most [`Pace::calls_at_once`] batches.
//!
//! [`openai`] and [`local`] are two of the models; Bedrock's are in `vecferry-aws`.

mod batch;
mod call;
mod dimensions;
#[cfg(feature = "local-model")]
pub mod local;
pub mod openai;
mod pacing;
mod patience;
mod rates;
mod said;
mod stream;
mod tokens;
mod usage;
mod window;

pub use batch::{Embedded, Piece};
pub use dimensions::{WrongDimensions, check_dimensions};
pub use pacing::{Pace, Pacer};
pub use patience::Patience;
pub use said::without_texts;
pub use stream::{Service, embed_all};
pub use tokens::estimated_tokens;
pub use usage::{Stopped, Usage, Why};
