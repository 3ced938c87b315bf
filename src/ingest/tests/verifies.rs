//! What a comparison of state and log finds.

use super::*;
use crate::ingest::state::{Row, Rows};
use crate::ingest::verify::{Kind, Report, Told, verify};
use crate::ingest::version::Version;

/// The report, and the differences that were told.
pub(super) fn compare(stream: &crate::ingest::stream::Stream) -> (Report, Vec<(String, Kind)>) {
    let mut told = Vec::new();
    let mut tell = |it| {
        if let Told::Difference(it) = it {
            told.push((it.id, it.kind));
        }
        true
    };
    let report = verify(stream, &mut tell).unwrap();
    told.sort();
    assert_eq!(told.len() as u64, report.differences);
    (report, told)
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_in_which_state_and_log_can_differ_is_found_and_nothing_else() {
    let sandbox = Sandbox::new().await;
    let put = async |id: &str, data: &str| sandbox.mutate("deal", upsert(id, data)).await.unwrap();
    for id in ["kept", "missing", "stale", "differs", "version", "gone", "back", "deleted"] {
        put(id, r#"{"a":1}"#).await;
    }
    let versioned =
        Mutation { version: Some(Version::Number(5)), ..upsert("version", r#"{"a":2}"#) };
    sandbox.mutate("deal", versioned).await.unwrap();
    for id in ["gone", "back", "deleted"] {
        sandbox.mutate("deal", delete(id)).await.unwrap();
    }
    put("back", r#"{"a":3}"#).await;
    // A version that published nothing is no difference.
    let raised = Mutation { version: Some(Version::Number(9)), ..upsert("kept", r#"{"a":1}"#) };
    sandbox.mutate("deal", raised).await.unwrap();
    let stream = sandbox.target("deal").await.stream;
    put("stale", r#"{"a":4}"#).await;
    stream.settle().unwrap();
    let (report, told) = compare(&stream);
    assert_eq!(told, []);
    let want = Report { events: 14, records: 6, unverified: 0, differences: 0 };
    assert_eq!(report, want);

    let rows = Rows::new(sandbox.broker.shared.state.clone(), stream.topic().id);
    let data = |text: &str| Some(Arc::from(text.as_bytes()));
    let change = |id: &str, change: &dyn Fn(&mut Row)| {
        let mut row = rows.get(id).unwrap();
        change(&mut row);
        rows.write(id, &row).unwrap();
    };
    change("missing", &|row| row.data = None);
    change("stale", &|row| row.offset -= 1);
    change("differs", &|row| row.data = data(r#"{"a":1.0}"#));
    change("version", &|row| row.version = Some(Version::Number(4)));
    change("phantom", &|row| (row.offset, row.data) = (0, data("{}")));
    change("ahead", &|row| (row.offset, row.data) = (1000, data("{}")));
    // Still there, although it was deleted: as it was before.
    change("deleted", &|row| (row.offset, row.data) = (0, data(r#"{"a":1}"#)));
    let (_, told) = compare(&stream);
    let want = [
        ("ahead", Kind::Phantom),
        ("deleted", Kind::Stale),
        ("differs", Kind::Differs),
        ("missing", Kind::Missing),
        ("phantom", Kind::Phantom),
        ("stale", Kind::Stale),
        ("version", Kind::Differs),
    ];
    for (id, kind) in want {
        assert!(told.contains(&(id.to_owned(), kind)), "{id}: {told:?}");
    }
    // A row that says it is of another record's event is a phantom too.
    let told: std::collections::BTreeSet<_> = told.iter().map(|(id, _)| id.as_str()).collect();
    assert!(told.into_iter().eq(want.map(|(id, _)| id)));
}
