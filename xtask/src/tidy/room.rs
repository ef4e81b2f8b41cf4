//! Arrows between the rooms of one crate: each imports the floor and what stands to its left.

use std::collections::BTreeSet;

use crate::tidy::{
    Finding,
    source::Source,
    table::{ROOMS, Rooms},
};

pub(crate) fn check(source: &Source<'_>, findings: &mut Vec<Finding>) {
    let Some(rooms) = ROOMS
        .iter()
        .find(|rooms| rooms.folder == source.crate_folder())
    else {
        return;
    };
    let here = source.room();
    if rooms.sees_all.contains(&here) {
        return;
    }
    if !rooms.floor.contains(&here) && place(rooms, here).is_none() {
        findings.push(Finding::new(
            source.path(),
            1,
            "room-table",
            format!(
                "room `{here}` is not in the table of rooms of {}",
                rooms.folder
            ),
            "give it its place in xtask/src/tidy/table.rs",
        ));
        return;
    }
    let mut told = BTreeSet::new();
    for named in source.inside() {
        // The crate's own root is all of it at once: what is imported from there has lost its room.
        let there = named.segments.first().map_or("*", String::as_str);
        if there == here || rooms.floor.contains(&there) || !told.insert(there) {
            continue;
        }
        let (message, fix) = match (place(rooms, there), place(rooms, here)) {
            (Some(there), Some(here)) if there < here => continue,
            (Some(_), Some(_)) => (
                format!(
                    "room `{here}` imports `{}`, which stands to its right",
                    named.shown()
                ),
                "move what is shared to the left, or hand it in as an argument",
            ),
            (Some(_), None) => (
                format!(
                    "the floor `{here}` imports `{}`, which stands on it",
                    named.shown()
                ),
                "the floor imports only the floor",
            ),
            (None, _) => (
                format!(
                    "room `{here}` imports `{}`, which is no room",
                    named.shown()
                ),
                "name the room that defines it; the crate's root only re-exports",
            ),
        };
        findings.push(Finding::new(
            source.path(),
            named.line,
            "room-arrow",
            message,
            fix,
        ));
    }
}

fn place(rooms: &Rooms, room: &str) -> Option<usize> {
    rooms.order.iter().position(|one| *one == room)
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::tidy::{source::Source, tree::Tree};

    fn found(path: &str, text: &str) -> Vec<(&'static str, usize)> {
        let tree = Tree::of(&[(path, text)]);
        let source = Source::parse(&tree.files()[0]).expect("parses");
        let mut findings = Vec::new();
        check(&source, &mut findings);
        findings
            .iter()
            .map(|finding| (finding.rule, finding.line))
            .collect()
    }

    #[test]
    fn a_room_imports_the_floor_itself_and_its_left() {
        let text =
            "use crate::{error::Error, limit::Slot, policy::Permit};\nuse super::bucket::Bucket;\n";
        assert_eq!(found("crates/gateway/src/limit/store.rs", text), []);
    }

    #[test]
    fn a_room_that_imports_its_right_is_found() {
        let text = "fn f() {}\nuse crate::pipeline::Pipeline;\n";
        assert_eq!(
            found("crates/gateway/src/policy.rs", text),
            [("room-arrow", 2)]
        );
        assert_eq!(
            found(
                "crates/gateway/src/policy/cedar.rs",
                "use super::super::rest::Door;"
            ),
            [("room-arrow", 1)]
        );
        assert_eq!(
            found(
                "crates/gateway/src/policy.rs",
                "#[cfg(test)]\nuse crate::pipeline::Pipeline;\n"
            ),
            []
        );
    }

    #[test]
    fn the_floor_stands_on_nothing() {
        assert_eq!(
            found("crates/gateway/src/call.rs", "use crate::policy::Permit;"),
            [("room-arrow", 1)]
        );
        assert_eq!(
            found("crates/gateway/src/call.rs", "use crate::error::Error;"),
            []
        );
    }

    #[test]
    fn the_root_is_no_room_and_sees_every_room() {
        assert_eq!(
            found("crates/gateway/src/policy.rs", "use crate::Permit;"),
            [("room-arrow", 1)]
        );
        assert_eq!(
            found("crates/gateway/src/policy.rs", "use crate::*;"),
            [("room-arrow", 1)]
        );
        assert_eq!(
            found("crates/gateway/src/lib.rs", "use crate::app::App;"),
            []
        );
    }

    #[test]
    fn a_room_without_a_place_is_found() {
        assert_eq!(
            found("crates/gateway/src/attic.rs", ""),
            [("room-table", 1)]
        );
        assert_eq!(found("crates/audit/src/attic.rs", ""), []);
    }
}
