//! What was measured, for people and for scripts.

use super::super::print::say;
use super::super::{Common, Output};
use anyhow::Result;
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use std::time::Duration;

/// Latencies up to ten minutes, to three significant digits.
const LATENCY_NS_MAX: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

/// Latencies in nanoseconds.
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn new() -> Result<Self> {
        Ok(Self(Histogram::new_with_max(LATENCY_NS_MAX, DIGITS)?))
    }

    pub(super) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(LATENCY_NS_MAX));
    }

    pub(super) fn add(&mut self, other: &Self) -> Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// Milliseconds by quantile, in order; nothing if there were no latencies.
    fn quantiles(&self) -> Vec<(&'static str, f64)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let ms = |ns: u64| ns as f64 / 1e6;
        let quantiles = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];
        let quantiles = quantiles.map(|(name, it)| (name, ms(self.0.value_at_quantile(it))));
        quantiles.into_iter().chain([("max", ms(self.0.max()))]).collect()
    }

    /// The same, and how many there were; null if there were none.
    fn json(&self) -> Value {
        let quantiles = self.quantiles();
        if quantiles.is_empty() {
            return Value::Null;
        }
        let fields = quantiles.into_iter().map(|(name, ms)| (name.to_owned(), Value::from(ms)));
        Value::Object(fields.chain([("count".to_owned(), self.0.len().into())]).collect())
    }
}

/// One measurement.
pub(super) struct Report {
    pub records: u64,
    /// Bytes of records' values, or of batches where nothing was decoded.
    pub bytes: u64,
    pub seconds: f64,
    /// Named latencies.
    pub latencies: Vec<(&'static str, Latencies)>,
}

impl Report {
    pub(super) fn print(&self, common: &Common) {
        let per_second = |it: u64| it as f64 / self.seconds.max(1e-9);
        let (records, bytes) = (per_second(self.records), per_second(self.bytes));
        if common.output == Output::Json {
            let mut fields = json!({
                "records": self.records, "bytes": self.bytes, "seconds": self.seconds,
                "records_per_second": records, "bytes_per_second": bytes,
            });
            for (name, latencies) in &self.latencies {
                fields[format!("{name}_ms")] = latencies.json();
            }
            say!("{fields}");
            return;
        }
        let (count, seconds, mb) = (self.records, self.seconds, bytes / 1e6);
        say!("{count} records in {seconds:.2} s: {records:.0} records/s, {mb:.1} MB/s");
        for (name, latencies) in &self.latencies {
            let quantiles = latencies.quantiles();
            if quantiles.is_empty() {
                continue;
            }
            let shown: Vec<_> =
                quantiles.iter().map(|(name, ms)| format!("{name} {ms:.3} ms")).collect();
            say!("{}: {}", name.replace('_', " "), shown.join(", "));
        }
    }
}

/// A bar over `total` records, or a counter where the end is a time; nothing without a terminal.
pub(super) fn progress(total: Option<u64>) -> Result<ProgressBar> {
    Ok(match total {
        Some(total) => {
            let style = "{wide_bar} {human_pos} of {human_len} records, {per_sec}, {eta}";
            ProgressBar::new(total).with_style(ProgressStyle::with_template(style)?)
        }
        None => {
            let style = "{spinner} {human_pos} records, {per_sec}, {elapsed}";
            ProgressBar::no_length().with_style(ProgressStyle::with_template(style)?)
        }
    })
}
