//! What the product may touch, and how: the time of day, randomness, files beneath a root, hosts on the network, and
//! what must not be written down.
//!
//! Each room stands alone. [`clock`] and [`random`] are the injectable ends of the machine; [`files`] is a folder that
//! nothing escapes; [`display`] shows people what strangers wrote; [`http`] is the only way out to the network; [`redact`] takes secrets out of what is recorded; `seal`
//! (feature `seal`) keeps values whole that leave our hands.
//! Nothing here reads the environment or a configuration file, and nothing knows a protocol above HTTP.

pub mod clock;
pub mod display;
#[cfg(feature = "files")]
pub mod files;
#[cfg(feature = "http")]
pub mod http;
pub mod random;
pub mod redact;
#[cfg(feature = "seal")]
pub mod seal;
