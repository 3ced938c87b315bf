//! `tidelog log repair`: takes damage out of logs, with the broker stopped.

use super::print::say;
use super::{Common, Output};
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::path::{Path, PathBuf};
use tidelog_storage::fs::Disk;
use tidelog_storage::{Excised, partitions_in, repair, segment_bytes};

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Take damaged bytes out of logs that no broker has open, and save them
    Repair(Repair),
}

/// Take damaged bytes out of logs that no broker has open, and save them
#[derive(Debug, Args)]
pub(super) struct Repair {
    /// A partition's directory, or the data directory for all of them
    dir: PathBuf,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    common: Common,
}

impl LogCommand {
    pub(super) fn run(self) -> Result<()> {
        let Self::Repair(repair) = self;
        repair.run()
    }
}

impl Repair {
    fn run(self) -> Result<()> {
        let dir = self.dir.canonicalize();
        let dir = dir.with_context(|| format!("cannot open {}", self.dir.display()))?;
        let (root, partitions) = partitions_in(&Disk, &dir)?;
        let bytes = |dir: &PathBuf| segment_bytes(&Disk, dir);
        let total = partitions.iter().map(bytes).sum::<tidelog_storage::Result<u64>>()?;
        let style = ProgressStyle::with_template("{wide_bar} {bytes} of {total_bytes}, {eta}")?;
        let progress = ProgressBar::new(total).with_style(style);
        let count = &mut |bytes| progress.inc(bytes);
        let excised = repair(&Disk, &root, &partitions, self.dry_run, count);
        progress.finish_and_clear();
        let excised = excised?;
        excised.iter().for_each(|damage| say!("{}", self.line(&root, damage)));
        let bytes: u64 = excised.iter().map(|damage| damage.bytes).sum();
        let (logs, places, dry_run) = (partitions.len(), excised.len(), self.dry_run);
        match self.common.output {
            Output::Json => say!(
                "{}",
                json!({ "sum": {
                    "logs": logs, "damages": places, "bytes": bytes, "dry_run": dry_run,
                } })
            ),
            Output::Table => {
                let done = if dry_run { "would be taken out" } else { "were taken out" };
                say!("{logs} logs, {places} damages; {bytes} bytes {done}, all else stays");
            }
        }
        Ok(())
    }

    fn line(&self, root: &Path, damage: &Excised) -> String {
        let Excised { file, position, bytes, reason, first_offset, next_offset, saved } = damage;
        let short = |path: &Path| path.strip_prefix(root).unwrap_or(path).display().to_string();
        let (file, saved) = (short(file), short(saved));
        if self.common.output == Output::Json {
            return json!({ "file": file, "damage": {
                "position": position, "bytes": bytes, "reason": reason,
                "first_offset": first_offset, "next_offset": next_offset, "saved": saved,
            } })
            .to_string();
        }
        let until = match next_offset {
            Some(next) => format!("to {}", next - 1),
            None => "on".to_owned(),
        };
        let done = if self.dry_run { "would be saved" } else { "saved" };
        format!(
            "{file} {position}: {bytes} bytes, offsets from {first_offset} {until}: {reason}; \
             {done} in {saved}"
        )
    }
}
