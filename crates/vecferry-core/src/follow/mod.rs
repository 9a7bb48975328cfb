//! Method `follow`: PostgreSQL's own subscription carries the changes across, and this steers and explains it.

pub mod conflict;
pub mod pgoutput;
