//! A prefix for everything that a source has.
//!
//! | | without | with `weather` |
//! |---|---|---|
//! | tool, prompt | `forecast` | `weather_forecast` |
//! | resource | `data://cities` | `data://weather/cities` |
//! | template | `data://{city}/now` | `data://weather/{city}/now` |
//!
//! URIs without an authority (`urn:isbn:1`) have no place for a prefix and stay as they are.

use std::{borrow::Cow, sync::Arc};

use fastmcp_protocol::{
    Raw,
    content::{Meta, ResourceContents},
    ordered::Ordered,
    skill::{Skill, SkillFiles},
};
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::{Host, Transform};
use crate::{
    call::{Input, Outcome, Payload},
    component::{Component, Definition, Handler},
    context::Context,
    error::{Error, Result},
};

/// Longest prefix, in bytes.
const MAX_PREFIX: usize = 64;

/// A prefix for everything, as [`FastMcp::mount`](crate::FastMcp::mount) puts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Namespace(Arc<str>);

impl Namespace {
    /// A prefix: 1 to 64 letters, digits, `_`, `-` and `.`.
    ///
    /// # Errors
    ///
    /// When it is something else.
    pub fn new(prefix: &str) -> Result<Self> {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
        if (1..=MAX_PREFIX).contains(&prefix.len()) && prefix.bytes().all(plain) {
            return Ok(Self(prefix.into()));
        }
        let shown: String = prefix.chars().take(MAX_PREFIX).collect();
        Err(Error::internal(format!(
            "prefix `{shown}`: use 1 to {MAX_PREFIX} letters, digits, `_`, `-` and `.`"
        )))
    }

    fn name(&self, name: &str) -> String {
        format!("{}_{name}", self.0)
    }

    /// A URI as it is here.
    pub(crate) fn outward<'a>(&self, uri: &'a str) -> Cow<'a, str> {
        match uri.split_once("://") {
            Some((scheme, rest)) => format!("{scheme}://{}/{rest}", self.0).into(),
            None => uri.into(),
        }
    }

    /// A URI of here as its source knows it.
    fn inward<'a>(&self, uri: &'a str) -> Cow<'a, str> {
        let inner = uri.split_once("://").and_then(|(scheme, rest)| {
            let rest = rest.strip_prefix(&*self.0)?.strip_prefix('/')?;
            Some(format!("{scheme}://{rest}"))
        });
        inner.map_or(Cow::Borrowed(uri), Cow::Owned)
    }

    /// What clients are told, by its name here.
    pub(crate) fn definition(&self, definition: &Definition) -> Definition {
        match definition {
            Definition::Tool(tool) => {
                let mut tool = tool.clone();
                tool.name = self.name(&tool.name);
                if let Some(meta) = &mut tool.meta {
                    self.dress_document(meta);
                }
                Definition::Tool(tool)
            }
            Definition::Prompt(prompt) => {
                let mut prompt = prompt.clone();
                prompt.name = self.name(&prompt.name);
                Definition::Prompt(prompt)
            }
            Definition::Resource(resource) => {
                let mut resource = resource.clone();
                resource.uri = self.outward(&resource.uri).into_owned();
                Definition::Resource(resource)
            }
            Definition::Template(template) => {
                let mut template = template.clone();
                template.uri_template = self.outward(&template.uri_template).into_owned();
                Definition::Template(template)
            }
        }
    }

    /// The component under its name here.
    pub(crate) fn dress(&self, component: &Component) -> Result<Component> {
        let dressed = component.with_definition(self.definition(component.definition()))?;
        if matches!(
            component.definition(),
            Definition::Tool(_) | Definition::Prompt(_)
        ) {
            return Ok(dressed);
        }
        let dressed = match component.skill() {
            Some(skill) => dressed.with_skill(self.dress_skill(skill)),
            None => dressed,
        };
        Ok(dressed.with_handler(Readdressed {
            inner: component.code(),
            namespace: self.clone(),
        }))
    }

    /// The document that a tool shows has its address in the tool's `_meta`.
    fn dress_document(&self, meta: &mut Meta) {
        let mut ui = meta.get("ui").cloned();
        let shown = ui.as_mut().and_then(|ui| ui.get_mut("resourceUri"));
        if let Some(Value::String(uri)) = shown {
            *uri = self.outward(uri).into_owned();
            meta.set("ui", ui);
        }
    }

    fn dress_skill(&self, skill: &Skill) -> Skill {
        let mut skill = skill.clone();
        skill.uri = self.outward(&skill.uri).into_owned();
        if let SkillFiles::Listed(files) = &mut skill.resources {
            for file in files {
                file.uri = self.outward(&file.uri).into_owned();
            }
        }
        skill
    }
}

impl Transform for Namespace {
    fn apply(&self, components: Vec<Arc<Component>>, _: &Host) -> Result<Vec<Arc<Component>>> {
        let dressed = components.iter().map(|one| self.dress(one).map(Arc::new));
        dressed.collect()
    }

    fn uri(&self, uri: String) -> String {
        self.outward(&uri).into_owned()
    }
}

/// A resource or template that is read by its URI of here.
struct Readdressed {
    inner: Arc<dyn Handler>,
    namespace: Namespace,
}

impl Handler for Readdressed {
    fn call(&self, context: Context, mut input: Input) -> BoxFuture<'static, Result<Outcome>> {
        let asked = input.uri.take().unwrap_or_default();
        let read = self.namespace.inward(&asked).into_owned();
        input.uri = Some(read.as_str().into());
        let reading = self.inner.call(context, input);
        let namespace = self.namespace.clone();
        Box::pin(async move {
            let outcome = reading.await?;
            let asked = Asked {
                namespace,
                asked: &asked,
                read: &read,
            };
            asked.outcome(outcome)
        })
    }
}

/// Puts the URIs in contents as they are here.
struct Asked<'a> {
    namespace: Namespace,
    asked: &'a str,
    read: &'a str,
}

impl Asked<'_> {
    /// What was read has the URI that was asked for; its neighbours have theirs.
    fn uri(&self, uri: &str) -> String {
        let scheme = |uri: &str| uri.split_once("://").map(|(scheme, _)| scheme.to_owned());
        if uri == self.read {
            self.asked.to_owned()
        } else if scheme(uri) == scheme(self.read) {
            self.namespace.outward(uri).into_owned()
        } else {
            uri.to_owned()
        }
    }

    fn outcome(&self, outcome: Outcome) -> Result<Outcome> {
        Ok(match outcome {
            Outcome::Complete(Payload::Resource(mut result)) => {
                for contents in &mut result.contents {
                    let uri = match contents {
                        ResourceContents::Text(text) => &mut text.uri,
                        ResourceContents::Blob(blob) => &mut blob.uri,
                        _ => continue,
                    };
                    *uri = self.uri(uri);
                }
                result.into()
            }
            Outcome::Complete(Payload::Raw(raw)) => {
                Outcome::Complete(Payload::Raw(self.encoded(&raw)?))
            }
            other => other,
        })
    }

    /// As [`Self::outcome`], for a result that was encoded elsewhere: what is not a URI stays as it is.
    fn encoded(&self, raw: &Raw) -> Result<Raw> {
        let mut result: Ordered<Raw> = raw.decode()?;
        let Some(contents) = result.get("contents") else {
            return Ok(raw.clone());
        };
        let mut all: Vec<Ordered<Raw>> = contents.decode()?;
        for contents in &mut all {
            let uri: Option<String> = contents.get("uri").map(Raw::decode).transpose()?;
            if let Some(uri) = uri {
                contents.set("uri".to_owned(), Raw::of(&self.uri(&uri))?);
            }
        }
        result.set("contents".to_owned(), Raw::of(&all)?);
        Ok(Raw::of(&result)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_goes_on_and_comes_off() {
        let weather = Namespace::new("weather").unwrap();
        for (there, here) in [
            ("data://cities", "data://weather/cities"),
            ("data://{city}/now", "data://weather/{city}/now"),
            ("file:///a", "file://weather//a"),
            ("urn:isbn:1", "urn:isbn:1"),
        ] {
            assert_eq!(weather.outward(there), here);
            assert_eq!(weather.inward(here), there);
        }
        assert_eq!(weather.inward("data://weathers/x"), "data://weathers/x");
        assert_eq!(weather.name("forecast"), "weather_forecast");
    }

    #[test]
    fn prefixes_are_checked() {
        let long = "x".repeat(65);
        for wrong in ["", "a b", "a/b", "a{b}", "ä", long.as_str()] {
            assert!(Namespace::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn uris_of_encoded_contents_are_those_of_here() {
        let asked = Asked {
            namespace: Namespace::new("p").unwrap(),
            asked: "data://p/a",
            read: "data://a",
        };
        let raw = r#"{"contents":[{"uri":"data://a","text":"1.50","x":1.50},{"uri":"data://b","text":""},{"uri":"https://c/d","blob":""}],"y":2}"#;
        let raw = Raw::parse(raw.to_owned()).unwrap();
        assert_eq!(
            asked.encoded(&raw).unwrap().as_str(),
            r#"{"contents":[{"uri":"data://p/a","text":"1.50","x":1.50},{"uri":"data://p/b","text":""},{"uri":"https://c/d","blob":""}],"y":2}"#
        );
    }
}
