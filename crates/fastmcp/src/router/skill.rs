//! Skills and their folders.
//!
//! Source: SEP-2640.

use std::{collections::BTreeMap, sync::Arc};

use fastmcp_protocol::{
    Method, Raw, Request, RpcError,
    discover::PaginatedParams,
    resource,
    resource::Resource,
    skill::{
        DIRECTORY, GetSkillParams, GetSkillResult, ListSkillsResult, ReadDirectoryParams,
        ReadDirectoryResult,
    },
};

use crate::{
    component::{Component, Definition},
    engine::Engine,
    error::{Error, Result},
    registry::{self, Kind, Sight},
};

/// Skills of one page: an entry may name 512 files.
const SKILLS: usize = 50;
/// Entries of one page of a folder.
const ENTRIES: usize = 500;

/// Answers `skills/list`, `skills/get` and `resources/directory/read`; `render` makes entries of folders
/// what the client's revision knows.
pub(crate) fn answer(
    engine: &Engine,
    sight: &Sight<'_>,
    method: Method,
    request: &Request,
    render: impl Fn(&mut Resource),
) -> Result<String> {
    let params = request.params.as_ref();
    let text = match method {
        Method::SkillsList => {
            let p: PaginatedParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
            serde_json::to_string(&list(engine, sight, p.cursor.as_deref())?)
        }
        Method::SkillsGet => {
            let p: GetSkillParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
            serde_json::to_string(&get(engine, sight, &p.uri)?)
        }
        _ => {
            let p: ReadDirectoryParams<'_> = Raw::decode_params(params).map_err(Error::protocol)?;
            let mut result = directory(engine, sight, &p.uri, p.cursor.as_deref())?;
            result.resources.iter_mut().for_each(render);
            serde_json::to_string(&result)
        }
    };
    Ok(text?)
}

fn list(engine: &Engine, sight: &Sight<'_>, cursor: Option<&str>) -> Result<ListSkillsResult> {
    let visible = visible(engine, sight);
    let skills: Vec<_> = visible.iter().filter_map(|c| c.skill()).collect();
    let (page, next_cursor) = page(&skills, cursor, engine.page_size.unwrap_or(SKILLS))?;
    Ok(ListSkillsResult {
        skills: page.iter().map(|skill| (*skill).clone()).collect(),
        next_cursor,
        meta: None,
    })
}

fn get(engine: &Engine, sight: &Sight<'_>, uri: &str) -> Result<GetSkillResult> {
    let found = engine
        .registry
        .snapshot()
        .find(sight, Kind::Resource, uri)
        .filter(|component| sight.visible(component));
    let skill = found.as_ref().and_then(|component| component.skill());
    let skill = skill.ok_or_else(|| Error::protocol(unknown("skill", uri)))?;
    Ok(GetSkillResult {
        skill: skill.clone(),
        meta: None,
    })
}

/// What is right in a folder that holds files of skills, at whatever depth.
fn directory(
    engine: &Engine,
    sight: &Sight<'_>,
    uri: &str,
    cursor: Option<&str>,
) -> Result<ReadDirectoryResult> {
    let visible = visible(engine, sight);
    let within = format!("{}/", uri.strip_suffix('/').unwrap_or(uri));
    let mut entries = BTreeMap::new();
    for component in &visible {
        let Definition::Resource(file) = component.definition() else {
            continue;
        };
        let Some(rest) = file.uri.strip_prefix(&within).filter(|r| !r.is_empty()) else {
            continue;
        };
        match rest.split_once('/') {
            None => entries.insert(file.uri.clone(), file.clone()),
            Some((name, _)) => {
                let folder = format!("{within}{name}");
                let entry = Resource {
                    mime_type: Some(DIRECTORY.to_owned()),
                    ..Resource::new(folder.as_str(), name)
                };
                entries.insert(folder, entry)
            }
        };
    }
    if entries.is_empty() || within.ends_with("://") {
        return Err(Error::protocol(unknown("folder", uri)));
    }
    let entries: Vec<_> = entries.into_values().collect();
    let (page, next_cursor) = page(&entries, cursor, engine.page_size.unwrap_or(ENTRIES))?;
    Ok(ReadDirectoryResult {
        resources: page.to_vec(),
        next_cursor,
        meta: None,
    })
}

/// The files of skills that the caller may see, in the order of their registration.
fn visible(engine: &Engine, sight: &Sight<'_>) -> Vec<Arc<Component>> {
    let snapshot = engine.registry.snapshot();
    let files = snapshot
        .every(Kind::Resource)
        .filter(|c| c.is_of_skill() && sight.exists(c) && sight.visible(c));
    files.cloned().collect()
}

fn page<'a, T>(
    all: &'a [T],
    cursor: Option<&str>,
    size: usize,
) -> Result<(&'a [T], Option<String>)> {
    let begin = registry::offset(cursor).map_err(Error::protocol)?;
    if begin > 0 && begin >= all.len() {
        return Err(Error::protocol(RpcError::invalid_params(
            "`cursor` is beyond the end of the list",
        )));
    }
    let end = begin.saturating_add(size).min(all.len());
    let next = (end < all.len()).then(|| registry::cursor(end));
    Ok((all.get(begin..end).unwrap_or_default(), next))
}

fn unknown(what: &str, uri: &str) -> RpcError {
    let shown: String = uri.chars().take(128).collect();
    let mut error = resource::not_found(uri);
    error.message = format!("`{shown}` is no {what} of this server").into();
    error
}
