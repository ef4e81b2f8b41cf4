//! The doors over real sockets and pipes, with a door of their own behind them.

#[cfg(test)]
mod body;
#[cfg(test)]
mod bounds;
#[cfg(all(test, feature = "compression"))]
mod compression;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod support;
