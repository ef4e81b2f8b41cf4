//! What holds for every input of the matcher of URIs and of sealed values: run over the committed
//! corpora here, and over whatever libFuzzer thinks of in `fuzz/`.

use std::{str, sync::LazyLock};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use fastmcp::{
    component::UriTemplate,
    seal::{KeyRing, SealError},
};

/// The longest template that is tried, in bytes: templates are the server author's, not the peer's.
const MAX_TEMPLATE: usize = 4096;
/// The longest URI that any template matches, in bytes.
const MAX_URI: usize = 8 * 1024;

/// A match names all parameters of the path and no others; a template without parameters matches
/// itself alone.
///
/// The input is a template, a newline and a URI.
pub(crate) fn template(bytes: &[u8]) {
    let Ok(input) = str::from_utf8(bytes) else {
        return;
    };
    let (text, uri) = input.split_once('\n').unwrap_or((input, input));
    if text.len() > MAX_TEMPLATE {
        return;
    }
    let template = match UriTemplate::parse(text) {
        Ok(template) => template,
        Err(error) => {
            assert!(error.to_string().contains(text), "{error}");
            return;
        }
    };
    let found = template.matches(uri);
    assert_eq!(found, template.matches(uri));
    if template.names().next().is_none() {
        let path = uri.split('#').next().unwrap_or_default();
        assert_eq!(found.is_some(), path == text && uri.len() <= MAX_URI);
    }
    let Some(found) = found else { return };
    assert!(uri.len() <= MAX_URI);
    for (name, value) in &found {
        assert!(template.names().any(|known| known == name), "{name}");
        // A parameter is text; one that may occur several times is a list of texts.
        let texts = value
            .as_array()
            .map_or_else(|| vec![value], |list| list.iter().collect());
        let lengths = texts.iter().map(|text| text.as_str().map(str::len));
        let length: Option<usize> = lengths.sum();
        assert!(length.is_some_and(|length| length <= uri.len()));
    }
    let query = text
        .find("{?")
        .map_or("", |at| text.get(at + 2..).unwrap_or_default());
    let optional: Vec<_> = query.trim_end_matches('}').split(',').collect();
    for name in template.names() {
        let absent = optional
            .iter()
            .any(|one| one.trim().trim_end_matches('*') == name);
        assert!(absent || found.contains_key(name), "{name}");
    }
}

static RING: LazyLock<Option<KeyRing>> = LazyLock::new(|| KeyRing::new(&[[7; 32], [9; 32]]).ok());

/// Only what was sealed opens, only for its purpose, and there is one text for it.
///
/// The input is the purpose, a newline and a sealed text.
pub(crate) fn sealed(bytes: &[u8]) {
    let (Ok(input), Some(ring)) = (str::from_utf8(bytes), &*RING) else {
        return;
    };
    let (purpose, text) = input.split_once('\n').unwrap_or(("", input));
    let purpose = purpose.as_bytes();
    match ring.open_text(purpose, text) {
        Ok(_) => {
            let decoded = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
            assert_eq!(URL_SAFE_NO_PAD.encode(decoded), text);
            let other = [purpose, b"!"].concat();
            assert_eq!(ring.open_text(&other, text), Err(SealError::Forged));
        }
        Err(error) => assert_eq!(error, SealError::Forged),
    }
    let Ok(fresh) = ring.seal_text(purpose, bytes) else {
        unreachable!("sealing fails on no input");
    };
    assert_eq!(ring.open_text(purpose, &fresh).as_deref(), Ok(bytes));
    // One character is changed; which one, the input says.
    let at = bytes.iter().fold(0_usize, |sum, byte| {
        sum * 31 % fresh.len() + usize::from(*byte)
    }) % fresh.len();
    let changed: String = fresh
        .chars()
        .enumerate()
        .map(|(index, c)| match (index == at, c) {
            (true, 'A') => 'B',
            (true, _) => 'A',
            (false, c) => c,
        })
        .collect();
    assert_eq!(ring.open_text(purpose, &changed), Err(SealError::Forged));
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    fn over(corpus: &str, check: fn(&[u8])) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(corpus);
        let mut files = 0;
        for entry in fs::read_dir(folder).unwrap() {
            check(&fs::read(entry.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "the corpus `{corpus}` is empty");
    }

    #[test]
    fn the_corpora_hold() {
        over("template", super::template);
        over("sealed", super::sealed);
    }
}
