//! What the product may touch, and how: the time of day, randomness, files beneath a root, hosts on the network, and
//! what must not be written down.
//!
//! Each room stands alone: [`clock`] and [`random`] are the injectable ends of the machine.

pub mod clock;
