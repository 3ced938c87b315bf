//! The reference names the limits there are: each constant of this folder whose name ends in `_MAX`
//! is in its list, or here with why it is not.

use crate::consumer::DECOMPRESSED_BYTES_MAX;
use crate::http::BODY_BYTES_MAX;
use crate::ingest::{
    answers, batch, items, json, mapping, mutation, name, page, records, state, sync, travel,
};
use std::collections::BTreeSet;
use std::path::Path;

/// What the list says of a limit, the constant, and its value.
type Limit = (&'static str, String, String);

macro_rules! limit {
    ($what:literal, $($at:ident)::+) => {
        ($what, stringify!($($at)::+).replace(' ', ""), $($at)::+.to_string())
    };
}

/// Of the list, in its order.
fn listed() -> Vec<Limit> {
    let of = |what, constant: &str, value: u64| (what, constant.to_owned(), value.to_string());
    let (hours, days) = (answers::RETENTION.as_secs() / 3600, state::TOMBSTONE_RETENTION);
    vec![
        limit!("syncs of an account", sync::SYNCS_MAX),
        limit!("collections of a sync", sync::definition::COLLECTIONS_MAX),
        limit!("bytes of a definition", sync::DEFINITION_BYTES_MAX),
        limit!("bytes of `metadata`", sync::definition::METADATA_BYTES_MAX),
        limit!(
            "bytes of a `name`, `provider`, `external_id`, table or column's name",
            sync::definition::TEXT_BYTES_MAX
        ),
        limit!("columns of a record, or of a collection's rules", mapping::COLUMNS_MAX),
        limit!("columns of a record with those that its rules leave out", json::COLUMNS_READ_MAX),
        limit!("versions of a collection's mapping", sync::MAPPINGS_MAX),
        limit!("bytes of all versions of a sync's mappings", sync::HISTORY_BYTES_MAX),
        limit!("bytes of a sync's id", name::SYNC_ID_BYTES_MAX),
        limit!("bytes of a collection's slug", name::COLLECTION_BYTES_MAX),
        limit!("bytes of a record's id", name::RECORD_ID_BYTES_MAX),
        limit!("levels of nesting", json::DEPTH_MAX),
        limit!("bytes of an event, or the topic's `max.message.bytes`", DECOMPRESSED_BYTES_MAX),
        limit!("items of a batch", batch::ITEMS_MAX),
        limit!("bytes of a batch", batch::BYTES_MAX),
        limit!("bytes of any other body, and of an item", items::ITEM_BYTES_MAX),
        of("an atomic batch has fewer items than", "batch::ATOMIC", batch::ATOMIC.items as u64),
        of("and fewer bytes than", "batch::ATOMIC", batch::ATOMIC.bytes as u64),
        limit!(
            "bytes of the records of one, or of 1000 items under a key",
            mutation::HELD_BYTES_MAX
        ),
        limit!("entries of a page", page::LIMIT_MAX),
        limit!("bytes of an `Idempotency-Key`", records::IDEMPOTENCY_KEY_BYTES_MAX),
        of("hours its answer is kept", "answers::RETENTION", hours),
        limit!("bytes of answers kept of an account", answers::ACCOUNT_BYTES_MAX),
        limit!("bytes of log that `?at=` reads back", travel::READ_BYTES_MAX),
        of(
            "days a deleted record's version is held",
            "state::TOMBSTONE_RETENTION",
            days.as_secs() / 86_400,
        ),
        limit!("such versions of a collection", state::TOMBSTONES_MAX),
    ]
}

/// Why constants are not in the list.
const NOT_LISTED: [(&str, &[&str]); 5] = [
    (
        "another list has it",
        &[
            "doors::ITEMS_MAX",
            "doors::routes::UNVERIFIED_BYTES_MAX",
            "doors::routes::UNVERIFIED_MAX",
            "doors::signature::SECRETS_MAX",
            "order::LOOKED_BACK_MAX",
        ],
    ),
    ("names as long as those in the list fit", &["name::TOPIC_BYTES_MAX"]),
    (
        "work goes on in another step",
        &[
            "answers::FORGET_ROWS_MAX",
            "listing::BYTES_MAX",
            "replay::BYTES_MAX",
            "replay::RECORDS_MAX",
            "state::AFTER_BYTES_MAX",
            "state::FORGET_ROWS_MAX",
            "stream::RUN_BYTES_MAX",
            "travel::SPAN_MAX",
            "travel::STEP_BYTES_MAX",
            "travel::STEP_RECORDS_MAX",
            "verify::BYTES_MAX",
            "verify::RECORDS_MAX",
            "verify::orphans::ORPHANS_MAX",
        ],
    ),
    (
        "others wait meanwhile",
        &[
            "overlap::PARTS_MAX",
            "stream::settling::UNSETTLED_BYTES_MAX",
            "verify::routes::AT_A_TIME_MAX",
            "verify::routes::LINES_MAX",
        ],
    ),
    (
        "only what is told, or looked at, is cut",
        &[
            "doors::signature::SIGNATURES_MAX",
            "outcomes::ERROR_BYTES_MAX",
            "target::NAMES_MAX",
            "verify::TOLD_MAX",
            "version::EXCERPT_BYTES_MAX",
        ],
    ),
];

/// The constants of a folder's modules that say how much there may be.
fn constants(dir: &Path, parent: &str, found: &mut BTreeSet<String>) {
    for path in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let module = format!("{parent}{}::", path.file_stem().unwrap().to_str().unwrap());
        if module.ends_with("tests::") {
            continue;
        }
        if path.is_dir() {
            constants(&path, &module, found);
        } else if path.extension().is_some_and(|it| it == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let names =
                text.lines().filter_map(|line| line.split_once("const ")?.1.split_once(':'));
            let maxima = names.filter(|(name, _)| name.ends_with("_MAX"));
            found.extend(maxima.map(|(name, _)| format!("{module}{name}")));
        }
    }
}

#[test]
fn the_reference_names_the_limits_there_are() {
    let listed = listed();
    let (_, table) = include_str!("../README.md").split_once("## Limits").unwrap();
    let rows = listed.iter().map(|(what, _, limit)| format!("| {what} | {limit} |\n"));
    assert_eq!(table, format!("\n\n| | |\n|---|---|\n{}", rows.collect::<String>()));
    assert_eq!(items::ITEM_BYTES_MAX, BODY_BYTES_MAX);

    let mut found = BTreeSet::new();
    constants(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ingest"), "", &mut found);
    let not_listed = NOT_LISTED.iter().flat_map(|(_, names)| *names).map(|it| (*it).to_owned());
    let known = listed.iter().map(|(_, constant, _)| constant.clone()).chain(not_listed);
    let known: BTreeSet<_> = known.filter(|it| it.contains("::") && it.ends_with("_MAX")).collect();
    let difference: Vec<_> = found.symmetric_difference(&known).collect();
    assert!(difference.is_empty(), "not known, or not there any more: {difference:?}");
}
