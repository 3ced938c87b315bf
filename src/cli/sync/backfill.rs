//! `tidelog sync backfill`: publishes what a collection's records are once more.

use super::super::api::{Api, segment};
use super::super::print::say;
use super::text;
use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::Value;
use std::time::Duration;

/// How often it is asked how far it is.
const INTERVAL: Duration = Duration::from_millis(250);

/// Begins a backfill and follows it to its end, or cancels the one that is running. Who leaves it
/// leaves it running.
pub(super) async fn run(api: &Api, id: &str, collection: &str, cancel: bool) -> Result<()> {
    let path = format!("/v1/syncs/{}/collections/{}/backfill", segment(id), segment(collection));
    let method = if cancel { Method::DELETE } else { Method::POST };
    let mut backfill = api.with_text(api.ask(method, &path, None).await?, "state")?;
    let began = text(&backfill["id"]);
    let style = ProgressStyle::with_template("{spinner} {msg}")?;
    let bar = ProgressBar::new_spinner().with_style(style);
    while backfill["state"] == "running" {
        bar.set_message(format!(
            "{} records, {} events",
            backfill["records"], backfill["published"]
        ));
        bar.tick();
        tokio::time::sleep(INTERVAL).await;
        backfill = api.with_text(api.ask(Method::GET, &path, None).await?, "state")?;
        if backfill["id"] != began.as_str() {
            bail!("backfill '{began}' has ended, and '{}' was begun", text(&backfill["id"]));
        }
    }
    bar.finish_and_clear();
    api.print(&backfill, |it: &Value| {
        let (state, records, events) = (text(&it["state"]), &it["records"], &it["published"]);
        say!("backfill {began} is {state}: {records} records, {events} events");
    });
    match backfill["problem"].as_str() {
        Some(problem) => {
            bail!("the backfill failed: {problem}; begin it again when that is mended")
        }
        None => Ok(()),
    }
}
