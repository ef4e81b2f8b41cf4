//! Whole paths over the in-memory transport and over sockets.

#[cfg(test)]
mod admission;
#[cfg(test)]
mod arguments;
#[cfg(test)]
mod ask;
#[cfg(test)]
mod authorize;
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod client;
#[cfg(test)]
mod completion;
#[cfg(test)]
mod compose;
#[cfg(test)]
mod config;
#[cfg(test)]
mod eras;
#[cfg(test)]
mod extension;
#[cfg(test)]
mod folder;
#[cfg(test)]
mod fuzzed;
#[cfg(test)]
mod http;
#[cfg(test)]
mod inject;
#[cfg(test)]
mod lifespan;
#[cfg(test)]
mod listen;
#[cfg(test)]
mod middleware;
#[cfg(test)]
mod oauth_proxy;
#[cfg(test)]
mod once;
#[cfg(test)]
mod openapi;
#[cfg(test)]
mod outputs;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod provider;
#[cfg(test)]
mod proxy;
#[cfg(test)]
mod reach;
#[cfg(test)]
mod resume;
#[cfg(test)]
mod rounds;
#[cfg(test)]
mod routes;
#[cfg(test)]
mod sources;
#[cfg(test)]
mod stdio;
#[cfg(test)]
mod tasks;
#[cfg(test)]
mod tasks_requested;
#[cfg(feature = "redis")]
#[cfg(test)]
mod tasks_shared;
#[cfg(test)]
mod telemetry;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tools;
#[cfg(test)]
mod transform;
#[cfg(test)]
mod ui;
#[cfg(test)]
mod user_session;
#[cfg(test)]
mod visibility;
