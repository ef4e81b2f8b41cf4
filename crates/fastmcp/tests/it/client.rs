//! The client, against servers that misbehave and against our own over real connections.

mod agree;
mod ask;
mod child;
mod fake;
mod group;
mod keep;
mod live;
mod older;
mod page;
mod patience;
mod skill;
mod sync;
mod task;
mod watch;
