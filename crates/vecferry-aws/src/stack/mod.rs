//! A deployed Bedrock Chat, found from its CloudFormation stack: which settings its outputs and its task definition's
//! environment give ([`mod@discover`], pure), and how they are read ([`mod@read`]). Nothing is changed.

mod discover;
mod read;

pub use discover::{
    Blemish, Discovery, Doubled, Found, Generation, Item, Missing, Output, Unusable, discover,
};
pub use read::{Deployed, read};
