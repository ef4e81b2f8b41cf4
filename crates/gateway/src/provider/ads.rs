//! provider/ads.
