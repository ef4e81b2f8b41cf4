//! What the servers of the bench share: how they start and end, and the handler that stands for
//! "somebody wrote it by hand".

pub mod by_hand;
pub mod catalogue;
pub mod raw;
pub mod serve;
