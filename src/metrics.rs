//! `GET /metrics`: what this process has done, in Prometheus' text format.
//!
//! **The operator's only**: numbers of the whole process, without names, still tell one account
//! what others do. Prometheus sends the admin token with `authorization: {credentials_file: …}`.
//!
//! The format is a few lines of text a metric, and all numbers are kept elsewhere: a registry of
//! them would be a second place.

use crate::consumer::undecoded_reads;
use crate::http::{Admin, ApiError, Context};
use crate::ingest::Ingest;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::{Display, Write};
use std::sync::Arc;
use tidelog_storage::{Distribution, Statistics, space};

/// Prometheus' text exposition format.
const FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Clone, FromRef)]
struct Sources {
    context: Context,
    ingest: Arc<Ingest>,
}

/// Its route.
pub fn router(context: Context, ingest: Arc<Ingest>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(Sources { context, ingest })
}

async fn metrics(_: Admin, State(sources): State<Sources>) -> Result<Response, ApiError> {
    let Sources { context, ingest } = sources;
    let shared = &context.broker.shared;
    let mut page = Page::default();
    page.storage(&shared.volume.statistics());
    let clusters = context.broker.clusters();
    let topics = clusters.iter().flat_map(|it| it.topics.all());
    let offline: usize = topics.map(|topic| topic.offline().count()).sum();
    let help = "Partitions whose log could not be opened at start.";
    page.one(GAUGE, "partitions_offline", help, offline);
    let unreadable: usize = clusters.iter().map(|it| it.groups.unreadable()).sum();
    let help = "Groups whose stored state could not be read at start.";
    page.one(GAUGE, "groups_unreadable", help, unreadable);
    let help =
        "Reads over REST and for webhooks and ingest that came to a batch that cannot be decoded.";
    page.one(COUNTER, "undecoded_reads_total", help, undecoded_reads());
    let help = "Syncs whose stored definition could not be read at start.";
    page.one(GAUGE, "syncs_unreadable", help, ingest.unreadable());
    if let Ok(space) = space(&shared.settings.data_dir) {
        page.one(GAUGE, "volume_free_bytes", "Bytes free for this process.", space.usable_bytes);
        page.one(GAUGE, "volume_total_bytes", "Bytes of the volume.", space.total_bytes);
    }
    Ok(([(CONTENT_TYPE, FORMAT)], page.0).into_response())
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";
/// Microseconds of a second. Numbers are divided by it: 1e-6 is no binary fraction, and a product
/// with it not always the nearest to what is meant, which is a bucket's name.
const MICROS: f64 = 1e6;

#[derive(Default)]
struct Page(String);

impl Page {
    fn storage(&mut self, of: &Statistics) {
        self.histogram("commit_seconds", "How long commits took.", &of.commit_micros, MICROS);
        let partitions = "Partitions that one commit made durable.";
        self.histogram("commit_partitions", partitions, &of.commit_partitions, 1.0);
        let counters = [
            ("committed_records_total", "Records made durable.", of.committed_records),
            ("journal_bytes_total", "Bytes written to the journal.", of.journaled_bytes),
            ("redone_bytes_total", "Bytes the start had from the journal.", of.redone_bytes),
            ("scrub_bytes_total", "Bytes read again in the background.", of.scrubbed_bytes),
            ("scrub_rounds_total", "Times that everything was read again.", of.scrub_rounds),
            ("recovery_bytes_total", "Bytes read to recover logs at start.", of.recovery_bytes),
            ("torn_tail_bytes_total", "Bytes cut off at start, never acknowledged.", of.torn_bytes),
        ];
        for (name, help, value) in counters {
            self.one(COUNTER, name, help, value);
        }
        let opened = [("clean", of.clean_logs), ("recovered", of.recovered_logs)];
        self.by(COUNTER, "logs_opened_total", "Logs opened, and how they were left.", &opened);
        let failed = [("full", of.refused_for_room), ("io", of.failed_appends)];
        self.by(COUNTER, "failed_appends_total", "Appends the disk refused.", &failed);
        let damage = [
            ("torn", of.torn_tails),
            ("quarantined", of.quarantined),
            ("missing", of.missing),
            ("scrubbed", of.scrub_damage),
        ];
        self.by(COUNTER, "damage_total", "Stretches of logs that did not hold.", &damage);
        let full = "1 while records are refused for want of room.";
        self.one(GAUGE, "volume_full", full, u8::from(of.is_full));
        self.one(GAUGE, "partitions", "Partitions that are open.", of.partitions);
        self.one(GAUGE, "log_files_open", "Log files kept open.", of.open_files);
        self.one(GAUGE, "log_maps", "Log and index files mapped.", of.maps);
    }

    fn head(&mut self, kind: &str, name: &str, help: &str) {
        let _infallible =
            write!(self.0, "# HELP tidelog_{name} {help}\n# TYPE tidelog_{name} {kind}\n");
    }

    fn line(&mut self, name: &str, labels: &str, value: impl Display) {
        let _infallible = writeln!(self.0, "tidelog_{name}{labels} {value}");
    }

    fn one(&mut self, kind: &str, name: &str, help: &str, value: impl Display) {
        self.head(kind, name, help);
        self.line(name, "", value);
    }

    fn by(&mut self, kind: &str, name: &str, help: &str, values: &[(&str, u64)]) {
        self.head(kind, name, help);
        for (label, value) in values {
            self.line(name, &format!("{{kind=\"{label}\"}}"), value);
        }
    }

    fn histogram(&mut self, name: &str, help: &str, of: &Distribution, per: f64) {
        self.head("histogram", name, help);
        let bucket = format!("{name}_bucket");
        let mut count = 0;
        let bounds = of.bounds.iter().map(|bound| (*bound as f64 / per).to_string());
        for (bound, more) in bounds.chain(["+Inf".to_owned()]).zip(&of.counts) {
            count += more;
            self.line(&bucket, &format!("{{le=\"{bound}\"}}"), count);
        }
        self.line(&format!("{name}_sum"), "", of.sum as f64 / per);
        self.line(&format!("{name}_count"), "", count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_upwards_to_all_there_is() {
        let of = Distribution { bounds: &[25_000, 100_000], counts: vec![3, 1, 2], sum: 9_000_750 };
        let mut page = Page::default();
        page.histogram("commit_seconds", "How long.", &of, MICROS);
        assert_eq!(
            page.0,
            "# HELP tidelog_commit_seconds How long.\n\
             # TYPE tidelog_commit_seconds histogram\n\
             tidelog_commit_seconds_bucket{le=\"0.025\"} 3\n\
             tidelog_commit_seconds_bucket{le=\"0.1\"} 4\n\
             tidelog_commit_seconds_bucket{le=\"+Inf\"} 6\n\
             tidelog_commit_seconds_sum 9.00075\n\
             tidelog_commit_seconds_count 6\n"
        );
    }
}
