//! Icons that clients may fetch.

use fastmcp_protocol::content::Icon;

use crate::error::{Error, Result};

/// Refuses icons that clients must not fetch.
pub(crate) fn check_icons(icons: Option<&[Icon]>) -> Result<()> {
    match icons
        .unwrap_or_default()
        .iter()
        .find(|icon| !icon.is_safe())
    {
        Some(icon) => Err(Error::internal(format!(
            "icon `{}` must be an `https:` or `data:` URI",
            icon.src.chars().take(128).collect::<String>()
        ))),
        None => Ok(()),
    }
}
