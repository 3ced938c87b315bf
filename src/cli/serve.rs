//! `tidelog serve`: a broker for production.

use super::print::say;
use super::{Common, Output};
use crate::broker::ADMIN_TOKEN_FILE;
use crate::serve::{Ready, run};
use crate::settings::Layer;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Run a broker
#[derive(Debug, Args)]
pub(super) struct Serve {
    #[command(flatten)]
    layer: Layer,
    /// Settings file [default: tidelog.toml, if it is there]
    #[arg(long, env = "TIDELOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Serve {
    pub(super) async fn run(self) -> Result<()> {
        super::start_logging("tidelog=info,warn");
        let settings =
            self.layer.over(Layer::from_file(self.config.as_deref())?).settings(false)?;
        let data_dir = settings.data_dir.clone();
        let own_token = settings.admin_token.is_some();
        let advertised = settings.kafka_advertise.clone();
        let ready = async |ready: Ready| {
            if self.common.output == Output::Json {
                say!("{}", json!({ "kafka": ready.kafka, "http": ready.http }));
                return Ok(());
            }
            say!("Kafka     {}", ready.kafka);
            match advertised {
                Some((host, port)) => say!("          clients are told {host}:{port}"),
                None => say!("          clients are told the address they reached"),
            }
            say!("HTTP      {}", ready.http);
            let token = match own_token {
                true => "--admin-token TOKEN".to_owned(),
                false => {
                    say!("Admin     token in {}", data_dir.join(ADMIN_TOKEN_FILE).display());
                    format!("--data-dir {}", data_dir.display())
                }
            };
            say!("Accounts  tidelog account create NAME --url {} {token}", ready.http);
            Ok(())
        };
        run(settings, ready, super::stop_signal()).await
    }
}
