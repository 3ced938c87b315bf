//! The state store is lost, as it was at an earlier moment, or cut off anywhere: with what the log
//! has, it comes back to be the replay of the events, and the next mutation is compared with that.
//!
//! The store is not behind the seam that the log's files are behind, so its crashes are images of
//! its directory: taken while it is in use, and with its journal cut at any byte, as a power cut
//! leaves what was not synced.

use super::*;
use crate::ingest::version::Version;
use crate::iterations::iterations;
use fastrand::Rng;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

const RECORDS: u64 = 12;
const MUTATIONS: u64 = 25;
const CYCLES: u64 = 12;
/// Images of the store that are kept.
const IMAGES_MAX: usize = 4;

/// What a record is: its JSON and its version.
type Model = BTreeMap<String, (Option<String>, Option<i64>)>;

#[tokio::test(flavor = "multi_thread")]
async fn state_is_the_replay_of_the_events_whatever_is_left_of_the_store() {
    let cycles = iterations(CYCLES);
    let mut sandbox = Sandbox::new().await;
    let (mut random, mut model) = (Rng::with_seed(1), Model::new());
    let images = tempfile::tempdir().unwrap();
    let (mut kept, mut events) = (Vec::new(), 0);
    for cycle in 0..cycles {
        for step in 0..MUTATIONS {
            events += i64::from(mutate(&sandbox, &mut random, &mut model).await);
            if random.u64(..8) == 0 {
                sandbox.target("deal").await.stream.settle().unwrap();
            }
            if step == MUTATIONS / 2 {
                let image = images.path().join(cycle.to_string());
                copy(&sandbox.dir.path().join("state"), &image);
                kept.push(image);
            }
        }
        assert_eq!(sandbox.events("deal").await, events, "cycle {cycle}");
        let fate = random.u64(..4);
        let image: PathBuf = kept[random.u64(..kept.len() as u64) as usize].clone();
        let cut = random.u64(..1 << 16);
        let (state, crash) = match fate {
            0 => (State::Kept, None),
            1 => (State::Lost, None),
            2 => (State::Lost, Some((image, 0))),
            _ => (State::Lost, Some((image, cut))),
        };
        sandbox = sandbox
            .restart(state, |dir| {
                let Some((image, cut)) = crash else { return };
                copy(&image, &dir.join("state"));
                cut_journals(&dir.join("state"), |_, written| written.saturating_sub(cut));
            })
            .await;
        check(&sandbox, &model, &format!("cycle {cycle}, fate {fate}")).await;
        if kept.len() > IMAGES_MAX {
            std::fs::remove_dir_all(kept.remove(0)).unwrap();
        }
    }
}

/// Carries out any mutation as the model says it must end, and gives whether it is an event.
async fn mutate(sandbox: &Sandbox, random: &mut Rng, model: &mut Model) -> bool {
    let id = format!("r{}", random.u64(..RECORDS));
    let (data, held) = model.entry(id.clone()).or_default();
    // Versions only rise, together with a change: one that publishes nothing is not in the log.
    let version = (random.u64(..3) == 0).then(|| held.unwrap_or(0) + 1);
    let next = match random.u64(..4) {
        0 => None,
        _ if version.is_some() => Some(format!(r#"{{"v":"{}"}}"#, version.unwrap_or_default())),
        value => Some(format!(r#"{{"a":{value},"b":[{}]}}"#, random.u64(..2))),
    };
    let mutation = next.as_deref().map_or_else(|| delete(&id), |next| upsert(&id, next));
    let changes = *data != next;
    let version = version.filter(|_| changes);
    let mutation = Mutation { version: version.map(Version::Number), ..mutation };
    let want = match (&data, &next) {
        _ if !changes => None,
        (None, _) => Some("inserted"),
        (_, None) => Some("deleted"),
        _ => Some("updated"),
    };
    let done = sandbox.mutate("deal", mutation).await.unwrap();
    assert_eq!(done.published.map(|it| it.kind.as_str()), want, "{id} {data:?} {next:?}");
    assert!(!done.stale);
    *data = next;
    *held = version.or(*held);
    changes
}

async fn check(sandbox: &Sandbox, model: &Model, when: &str) {
    let target = sandbox.target("deal").await;
    let (report, told) = super::verifies::compare(&target.stream);
    assert_eq!((told, report.unverified), (Vec::new(), 0), "{when}");
    let records = model.values().filter(|(data, _)| data.is_some()).count();
    assert_eq!(report.records, records as u64, "{when}");
    for (id, (data, version)) in model {
        let row = target.stream.get(&RecordId::parse(id).unwrap()).unwrap().row;
        let text = row.data.map(|it| String::from_utf8(it.to_vec()).unwrap());
        assert_eq!(text, *data, "{when}: {id}");
        assert_eq!(row.version, version.map(Version::Number), "{when}: {id}");
    }
}

pub(super) fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// Cuts each of the store's journals to as much as `left` makes of what was written to it.
pub(super) fn cut_journals(state: &Path, mut left: impl FnMut(&OsStr, u64) -> u64) {
    for (name, written) in journals(state) {
        let file = std::fs::File::options().write(true).open(state.join(&name)).unwrap();
        file.set_len(left(&name, written)).unwrap();
    }
}

/// The store's journals, and how much was written to each. Their length is reserved, so the zeros
/// at the end are none of that.
pub(super) fn journals(state: &Path) -> BTreeMap<OsString, u64> {
    let names = std::fs::read_dir(state).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.filter(|name| Path::new(name).extension().is_some_and(|it| it == "jnl"));
    names
        .map(|name| {
            let written = written(&std::fs::read(state.join(&name)).unwrap());
            (name, written)
        })
        .collect()
}

fn written(journal: &[u8]) -> u64 {
    const PAGE: [u8; 4096] = [0; 4096];
    let mut pages = journal.chunks(PAGE.len()).enumerate();
    let last = pages.rfind(|(_, page)| *page != &PAGE[..page.len()]);
    let end = last.and_then(|(at, page)| {
        let byte = page.iter().rposition(|byte| *byte != 0)?;
        Some(at * PAGE.len() + byte + 1)
    });
    end.unwrap_or(0) as u64
}
