//! `tidelog sync verify`: whether the record state is what its log says.

use super::super::Output;
use super::super::api::{Api, print_table, segment};
use super::super::print::say;
use anyhow::{Result, anyhow, bail};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};

/// Compares, tells what differs, and fails if anything does.
pub(super) async fn run(api: &Api, id: &str, collection: Option<&str>) -> Result<()> {
    let of = collection.map_or(String::new(), |it| format!("?collection={}", segment(it)));
    let path = format!("/v1/syncs/{}/verify{of}", segment(id));
    let client = crate::http_client::new()?;
    let mut lines = api.lines(api.request(&client, Method::GET, &path)).await?;
    let style = "{wide_bar} {human_pos} of {human_len}, {msg}";
    let bar = ProgressBar::new(0).with_style(ProgressStyle::with_template(style)?);
    let (mut differences, mut summary) = (Vec::new(), Value::Null);
    while let Some(mut line) = lines.next().await? {
        if let Some(error) = line["error"].as_str() {
            bar.finish_and_clear();
            bail!("{error}");
        }
        if line["progress"].is_object() {
            show(&bar, &line["progress"]);
        } else if line["difference"].is_object() {
            differences.push(line["difference"].take());
        } else if line["summary"].is_object() {
            summary = line["summary"].take();
        } else {
            return Err(api.foreign(&line).into());
        }
    }
    bar.finish_and_clear();
    let found = summary["differences"].as_u64();
    let found = found.ok_or_else(|| anyhow!("the broker stopped before all was compared"))?;
    match api.output() {
        Output::Json => say!("{}", json!({ "summary": summary, "differences": differences })),
        Output::Table => print(&summary, &differences),
    }
    match found {
        0 => Ok(()),
        found => bail!("{found} records are not what the log says they are"),
    }
}

fn show(bar: &ProgressBar, progress: &Value) {
    let number = |name: &str| progress[name].as_u64().unwrap_or(0);
    let start = number("start");
    bar.set_length(number("end").saturating_sub(start));
    bar.set_position(number("offset").saturating_sub(start));
    let collection = progress["collection"].as_str().unwrap_or_default();
    bar.set_message(format!("{collection}, partition {}", number("partition")));
}

fn print(summary: &Value, differences: &[Value]) {
    if !differences.is_empty() {
        let cell = |value: &Value| value.as_str().map_or(value.to_string(), str::to_owned);
        let row = |it: &Value| {
            ["collection", "partition", "id", "offset", "text"].map(|name| cell(&it[name])).into()
        };
        let rows: Vec<Vec<_>> = differences.iter().map(row).collect();
        print_table(&["COLLECTION", "PARTITION", "RECORD", "OFFSET", "DIFFERENCE"], &rows);
        let advice: std::collections::BTreeSet<_> =
            differences.iter().filter_map(|it| it["advice"].as_str()).collect();
        advice.iter().for_each(|advice| say!("What to do: {advice}."));
    }
    let number = |name: &str| summary[name].as_u64().unwrap_or(0);
    let (records, events) = (number("records"), number("events"));
    say!("{records} records and {events} events compared, {} differ", number("differences"));
    if number("unverified") > 0 {
        say!("{} of them are of events that the log no longer has", number("unverified"));
    }
}
