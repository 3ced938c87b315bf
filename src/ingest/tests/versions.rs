//! Versions, conditions, and how both come back.

use super::super::etag;
use super::super::version::Version;
use super::*;
use crate::ingest::mutation::{Condition, Hold, Key};
use crate::ingest::state::Row;

/// What became of a mutation: `inserted`, `nothing` or `stale`, and the version held.
async fn outcome(sandbox: &Sandbox, mutation: Mutation<'_>) -> String {
    match sandbox.mutate("contact", mutation).await {
        Ok(done) => {
            let event = done.published.map_or("nothing", |it| it.kind.as_str());
            let event = if done.stale { "stale" } else { event };
            done.version.map_or(event.to_owned(), |version| format!("{event} {version}"))
        }
        Err(error) => error.to_string(),
    }
}

fn at<'a>(version: &str, mutation: Mutation<'a>) -> Mutation<'a> {
    Mutation { version: Some(Version::parse(version).unwrap()), ..mutation }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_waits_for_a_version_that_came_with_another_request() {
    let sandbox = Sandbox::new().await;
    let target = sandbox.target("contact").await;
    let mutate = |mutation| target.mutate(vec![mutation]).pop().unwrap();
    mutate(at("5", upsert("1", "{}"))).unwrap();
    let raise = || mutate(at("7", upsert("1", "{}"))).unwrap();
    let first = raise();
    let others = [raise(), mutate(at("6", upsert("1", "{}"))).unwrap()];
    for done in std::iter::once(&first).chain(&others) {
        assert_eq!((done.version, done.raised.is_some()), (Version::parse("7").ok(), true));
        target.stream.confirm([done].into_iter()).await;
    }
    // Of another whose answer is not given yet, only the store has the version then, unsynced.
    mutate(at("8", upsert("1", "{}"))).unwrap();
    target.stream.settle().unwrap();
    let late = mutate(at("6", upsert("1", "{}"))).unwrap();
    assert!(late.stale && late.raised.is_none(), "the store has it");
    assert!(target.stream.tell([&late].into_iter()).await);
    assert!(!target.stream.tell([&late].into_iter()).await, "once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_waits_for_what_it_says_of_the_record() {
    let sandbox = Sandbox::new().await;
    let target = sandbox.target("contact").await;
    let mutate = |mutation| target.mutate(vec![mutation]).pop().unwrap();
    let done = mutate(at("5", upsert("1", "{}"))).unwrap();
    let absent = Mutation { condition: Condition::Absent, ..upsert("1", "{}") };
    for refused in [absent, at("2024-11-10T18:39:00Z", upsert("1", "{}"))] {
        assert_eq!(mutate(refused).unwrap_err().tells().unwrap().rests_on, done.rests_on);
    }
    assert_eq!(done.rests_on, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_version_is_dropped_and_survives_restarts_as_far_as_promised() {
    let mut sandbox = Sandbox::new().await;
    let table = [
        (upsert("1", r#"{"a":1}"#), "inserted"),
        (at("5", upsert("1", r#"{"a":2}"#)), "updated 5"),
        (at("4", upsert("1", r#"{"a":1}"#)), "stale 5"),
        (at("4", delete("1")), "stale 5"),
        // Equal versions are applied; none keeps what is held.
        (at("5", upsert("1", r#"{"a":3}"#)), "updated 5"),
        (upsert("1", r#"{"a":4}"#), "updated 5"),
        // A version that publishes nothing is held too.
        (at("7", upsert("1", r#"{"a":4}"#)), "nothing 7"),
        (at("6", upsert("1", r#"{"a":5}"#)), "stale 7"),
        (
            at("2024-11-10T18:39:00Z", upsert("1", r#"{"a":5}"#)),
            "version 2024-11-10T18:39:00Z does not compare with 7, which the record has: versions \
             of a record are all numbers or all times",
        ),
        // A deletion is not undone by what it followed, wherever that comes from.
        (at("2024-11-10T18:39:00Z", upsert("2", r#"{"a":1}"#)), "inserted 2024-11-10T18:39:00Z"),
        (at("2024-11-10T18:39:01Z", delete("2")), "deleted 2024-11-10T18:39:01Z"),
        (at("2024-11-10T18:39:01Z", upsert("2", "{}")), "stale 2024-11-10T18:39:01Z"),
        (at("9", delete("3")), "nothing 9"),
        (at("9", upsert("3", "{}")), "stale 9"),
        (delete("4"), "nothing"),
    ];
    for (at, (mutation, want)) in table.into_iter().enumerate() {
        assert_eq!(outcome(&sandbox, mutation).await, want, "row {at}");
    }

    // With its state, everything is as it was; from the topic alone, all that was published.
    for (state, held) in [(State::Kept, "stale 7"), (State::Lost, "nothing 6")] {
        sandbox = sandbox.restart(state, |_| ()).await;
        assert_eq!(outcome(&sandbox, at("6", upsert("1", r#"{"a":4}"#))).await, held);
        assert_eq!(outcome(&sandbox, at("4", upsert("1", "{}"))).await[..6], *"stale ");
        let late = at("2024-11-10T18:39:00Z", upsert("2", "{}"));
        assert_eq!(outcome(&sandbox, late).await, "stale 2024-11-10T18:39:01Z");
    }
    assert_eq!(outcome(&sandbox, at("10", upsert("3", "{}"))).await, "inserted 10");

    // Nothing is held of a deletion for ever.
    let target = sandbox.target("contact").await;
    target.stream.settle().unwrap();
    target.stream.forget_deleted(i64::MAX, u64::MAX).unwrap();
    let late = at("2024-11-10T18:39:00Z", upsert("2", "{}"));
    assert_eq!(outcome(&sandbox, late).await, "inserted 2024-11-10T18:39:00Z");
    assert_eq!(outcome(&sandbox, at("9", upsert("3", "{}"))).await, "stale 10");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_more_deletions_than_are_held_the_newest_are_and_of_old_ones_none() {
    const MANY: u64 = 10_100;
    const HELD: u64 = 40;
    let sandbox = Sandbox::new().await;
    let stream = sandbox.target("contact").await.stream;
    let rows = stream.rows();
    let held = |at: u64| rows.get(&at.to_string()).unwrap().version.is_some();
    for at in 0..MANY {
        let row = Row { version: Some(Version::Number(1)), deleted_ms: at as i64, ..Row::NONE };
        rows.write(&at.to_string(), &row).unwrap();
    }
    stream.forget_deleted(0, MANY).unwrap();
    assert!((0..MANY).all(held));
    stream.forget_deleted(0, HELD).unwrap();
    assert!((0..MANY - HELD).all(|at| !held(at)));
    assert!((MANY - HELD..MANY).all(held));
    assert_eq!(rows.deleted_beyond(0).unwrap(), HELD);
    // One that came back is no deletion any more, and what it was deleted with goes all the same.
    assert_eq!(outcome(&sandbox, at("2", upsert("10099", "{}"))).await, "inserted 2");
    stream.settle().unwrap();
    stream.forget_deleted(i64::MAX, HELD).unwrap();
    assert_eq!(rows.deleted_beyond(0).unwrap(), 0);
    assert_eq!(outcome(&sandbox, at("1", upsert("10099", "{}"))).await, "stale 2");
    assert_eq!(outcome(&sandbox, at("1", upsert("10098", "{}"))).await, "inserted 1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_came_back_and_was_deleted_again_is_held_from_then() {
    let sandbox = Sandbox::new().await;
    let target = sandbox.target("contact").await;
    let rows = target.stream.rows();
    let write = |offset, deleted_ms, data: Option<&str>| {
        let (version, data) = (Some(Version::Number(5)), data.map(|it| it.as_bytes().into()));
        rows.write("1", &Row { offset, version, mapping: 1, data, deleted_ms }).unwrap();
    };
    let forget_before = |ms| {
        let deleted = rows.deleted_before(ms, u64::MAX).unwrap();
        deleted.into_iter().for_each(|it| rows.forget(it).unwrap());
        rows.get("1").unwrap().version.is_some()
    };
    write(0, 10, None);
    write(1, 0, Some("{}"));
    write(2, 1000, None);
    assert!(forget_before(11), "the deletion that it came back from");
    assert!(!forget_before(1001));
    // As earlier builds wrote it.
    write(3, 2000, None);
    let key = [&target.stream.topic().id, &b"t"[..], &2000_i64.to_be_bytes(), b"1"].concat();
    let state = &sandbox.broker.shared.state;
    state.apply(&state.records, vec![(key, Some(b"\x025".to_vec()))]).unwrap();
    assert!(!forget_before(2001));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_not_met_says_what_the_record_is() {
    let sandbox = Sandbox::new().await;
    let topic = sandbox.target("contact").await.stream.topic().id;
    let has = |offset| format!("record '1' has ETag {}", etag::write(&topic, offset));
    let (first, second) = (has(0), format!("{}, version 3", has(1)));
    let on = |condition, data| Mutation { condition, ..upsert("1", data) };
    let table = [
        (on(Condition::Present, "{}"), "record '1' does not exist"),
        (on(Condition::At(vec![0]), "{}"), "record '1' does not exist"),
        (on(Condition::Absent, r#"{"a":1}"#), "inserted"),
        (on(Condition::Absent, "{}"), first.as_str()),
        (at("3", on(Condition::At(vec![7, 0]), r#"{"a":2}"#)), "updated 3"),
        (on(Condition::At(vec![0]), "{}"), second.as_str()),
        (on(Condition::Present, r#"{"a":2}"#), "nothing 3"),
    ];
    for (at, (mutation, want)) in table.into_iter().enumerate() {
        assert_eq!(outcome(&sandbox, mutation).await, want, "row {at}");
    }
    let sandbox = sandbox.restart(State::Lost, |_| ()).await;
    assert_eq!(outcome(&sandbox, on(Condition::At(vec![1]), r#"{"a":2}"#)).await, "nothing 3");
}

/// What Stripe says of an object that changed twice in one second: `{"k":"o"}` became `{"k":"b"}`
/// and then got an `l`, and its prior values with each.
const CREATED: (&str, &str) = (r#"{"k":"o","n":{"x":1}}"#, "{}");
const FIRST: (&str, &str) = (r#"{"k":"b","n":{"x":1}}"#, r#"{"k":"o"}"#);
const SECOND: (&str, &str) = (r#"{"k":"b","n":{"x":1},"l":2}"#, r#"{"l":null}"#);
const BACK: (&str, &str) = (r#"{"k":"b","n":{"x":1}}"#, r#"{"l":2}"#);

#[tokio::test(flavor = "multi_thread")]
async fn within_one_version_prior_values_tell_which_of_two_updates_came_first() {
    let sandbox = Sandbox::new().await;
    let deliver = async |id: &str, (data, before): (&str, &str), version: i64| {
        let follows = Some(Object::parse(before.as_bytes()).unwrap());
        let version = Some(Version::Number(version));
        let done = sandbox.mutate("deal", Mutation { version, follows, ..upsert(id, data) }).await;
        let done = done.unwrap();
        (done.published.map(|it| it.kind.as_str()), done.stale)
    };
    let (updated, stale) = ((Some("updated"), false), (None, true));
    let orders: [&[_]; 5] = [
        &[(FIRST, updated), (SECOND, updated)],
        // Late, and each of them again.
        &[(SECOND, updated), (FIRST, stale)],
        &[(FIRST, updated), (SECOND, updated), (FIRST, stale), (SECOND, (None, false))],
        &[(FIRST, updated), (SECOND, updated), (BACK, updated)],
        &[(SECOND, updated), (FIRST, stale), (BACK, updated), (FIRST, (None, false))],
    ];
    for (at, order) in orders.into_iter().enumerate() {
        let id = at.to_string();
        assert_eq!(deliver(&id, CREATED, 1).await, (Some("inserted"), false));
        for (delivery, want) in order {
            assert_eq!(deliver(&id, *delivery, 2).await, *want, "{at}: {delivery:?}");
        }
    }
    // One that was lost in between keeps nothing that came later away.
    let lost = (r#"{"k":"z"}"#, r#"{"k":"y"}"#);
    assert_eq!(deliver("1", lost, 2).await, updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn within_one_version_a_mutation_that_comes_again_is_known_by_its_name() {
    let mut sandbox = Sandbox::new().await;
    let deliver = async |sandbox: &Sandbox, key: &str, status: &str, version: i64| {
        let data = format!(r#"{{"status":"{status}"}}"#);
        let key = Some(Key { text: key.to_owned(), hold: Hold::default() });
        let (follows, version) = (Some(Object::default()), Some(Version::Number(version)));
        let mutation = Mutation { version, follows, key, ..upsert("in_1", &data) };
        let done = sandbox.mutate("contact", mutation).await.unwrap();
        (done.published.map(|it| it.kind.as_str()), done.stale)
    };
    let (updated, stale) = ((Some("updated"), false), (None, true));
    assert_eq!(deliver(&sandbox, "evt_0", "new", 1).await, (Some("inserted"), false));
    assert_eq!(deliver(&sandbox, "evt_1", "draft", 2).await, updated);
    assert_eq!(deliver(&sandbox, "evt_2", "open", 2).await, updated);
    assert_eq!(deliver(&sandbox, "evt_3", "paid", 2).await, updated);
    // Others of the partition are in between, and one of them has the name of another's.
    for other in 0..100 {
        let key = Some(Key { text: "evt_4".to_owned(), hold: Hold::default() });
        let mutation = Mutation { key, ..upsert(&format!("in_2{other}"), "{}") };
        sandbox.mutate("contact", mutation).await.unwrap();
    }
    assert_eq!(deliver(&sandbox, "evt_4", "void", 2).await, updated);
    for state in [State::Kept, State::Lost] {
        for (key, status) in [("evt_1", "draft"), ("evt_2", "open"), ("evt_3", "paid")] {
            assert_eq!(deliver(&sandbox, key, status, 2).await, stale, "{key}");
        }
        assert_eq!(deliver(&sandbox, "evt_4", "void", 2).await, (None, false));
        sandbox = sandbox.restart(state, |_| ()).await;
    }
    // A name of an older version is no name of this one.
    assert_eq!(deliver(&sandbox, "evt_0", "back", 2).await, updated);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_may_follow_a_deletion_within_one_version() {
    let sandbox = Sandbox::new().await;
    let revives = |data| at("5", Mutation { revives: true, ..upsert("1", data) });
    let table = [
        (revives(r#"{"a":1}"#), "inserted 5"),
        (at("5", delete("1")), "deleted 5"),
        (revives(r#"{"a":2}"#), "inserted 5"),
        (at("6", delete("1")), "deleted 6"),
        (revives(r#"{"a":3}"#), "stale 6"),
    ];
    for (at, (mutation, want)) in table.into_iter().enumerate() {
        assert_eq!(outcome(&sandbox, mutation).await, want, "row {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_of_which_only_the_name_is_known_stays_and_all_others_are_replaced() {
    let mut sandbox = Sandbox::new().await;
    let keeps = ["Big".to_owned(), "New".to_owned()];
    let unknown = r#"{"id":1,"h":{"a":"1"},"Big":"?","n":null,"New":"?"}"#;
    let put = |data| Mutation { keeps: &keeps, ..upsert("1", data) };
    let whole = r#"{"id":1,"h":{"a":"1","b":"2"},"Big":"long","n":5}"#;
    assert_eq!(outcome(&sandbox, upsert("1", whole)).await, "inserted");
    assert_eq!(outcome(&sandbox, put(unknown)).await, "updated");
    assert_eq!(outcome(&sandbox, put(unknown)).await, "nothing");
    let read = "GET /v1/syncs/sync_a/collections/contact/records/1";
    let record = async |sandbox: &Sandbox| sandbox.http(read, &[], "").await.json.to_string();
    let want = serde_json::json!({"id": 1, "h": {"a": "1"}, "Big": "long", "n": null});
    assert_eq!(record(&sandbox).await, want.to_string());
    // Also where it has another name, and where nothing is known of it.
    let snake = r#"{"naming":"snake_case","collections":{"contact":{"partitions":1}}}"#;
    assert_eq!(sandbox.http("PUT /v1/syncs/sync_a", &[], snake).await.status, 200);
    sandbox = sandbox.restart(State::Kept, |_| ()).await;
    let other = r#"{"id":2,"Big":"?"}"#;
    assert_eq!(outcome(&sandbox, put(other)).await, "updated");
    let want = serde_json::json!({"id": 2, "big": "long"});
    assert_eq!(record(&sandbox).await, want.to_string());
    outcome(&sandbox, delete("1")).await;
    assert_eq!(outcome(&sandbox, put(other)).await, "inserted");
    assert_eq!(record(&sandbox).await, r#"{"id":2}"#);
    // Where two columns would have the name, it is not known which of them stays.
    let two = |data| Mutation { keeps: &keeps, ..upsert("2", data) };
    let asis = r#"{"naming":"as-is","collections":{"contact":{"partitions":1}}}"#;
    assert_eq!(sandbox.http("PUT /v1/syncs/sync_a", &[], asis).await.status, 200);
    outcome(&sandbox, upsert("2", r#"{"Big":"A","big":"b"}"#)).await;
    assert_eq!(sandbox.http("PUT /v1/syncs/sync_a", &[], snake).await.status, 200);
    let meets = r#"columns "Big" and "big" both map to "big": give each its own name"#;
    assert_eq!(outcome(&sandbox, two(r#"{"id":2,"Big":"?"}"#)).await, meets);
    assert_eq!(outcome(&sandbox, upsert("2", r#"{"Big":"C"}"#)).await, "updated");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_stored_late_takes_the_place_of_no_newer_one() {
    let sandbox = Sandbox::new().await;
    let target = sandbox.target("contact").await;
    let stream = &target.stream;
    let held = |id: &str| stream.rows().get(id).unwrap().version;
    // Carried out, not yet answered.
    let begin = |mutation| target.mutate(vec![mutation]).pop().unwrap().unwrap();
    let confirm = async |done: Done| stream.confirm([&done].into_iter()).await;
    const A: &str = r#"{"a":1}"#;
    confirm(begin(at("1", upsert("1", A)))).await;
    stream.settle().unwrap();

    let late = begin(at("7", upsert("1", A)));
    confirm(begin(at("9", upsert("1", A)))).await;
    confirm(late).await;
    assert_eq!(held("1"), Some(Version::Number(9)), "of two that publish nothing");

    let late = begin(at("10", upsert("1", A)));
    confirm(begin(at("11", upsert("1", r#"{"a":2}"#)))).await;
    stream.settle().unwrap();
    let offset = stream.rows().get("1").unwrap().offset;
    begin(at("12", upsert("1", r#"{"a":3}"#)));
    confirm(late).await;
    assert_eq!(held("1"), Some(Version::Number(11)), "after an event that is in the store");
    assert_eq!(stream.rows().get("1").unwrap().offset, offset);

    // One moves to the store while a keyed write that is not answered keeps the newer from it.
    begin(at("1", upsert("2", A)));
    begin(at("7", upsert("2", A)));
    let hold = crate::ingest::mutation::Hold::default();
    let ticket = sandbox.ingest.answers.begin(&sandbox.cluster().account.id, "k").unwrap();
    begin(Mutation { key: Some(ticket.key(None, &hold)), ..upsert("3", A) });
    confirm(begin(at("9", upsert("2", A)))).await;
    stream.settle().unwrap();
    assert_eq!(held("2"), Some(Version::Number(9)), "what was there first came later");
    drop(hold);
    stream.settle().unwrap();
    assert_eq!(held("2"), Some(Version::Number(9)));
    begin(at("10", upsert("2", A)));
    stream.settle().unwrap();
    assert_eq!(held("2"), Some(Version::Number(10)));
}
