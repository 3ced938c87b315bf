//! `tidelog dev`: a broker on a laptop or in CI, with an account to use at once.

use super::print::say;
use super::{Common, Output};
use crate::serve::{Ready, run};
use crate::settings::Layer;
use anyhow::Result;
use clap::Args;
use serde_json::json;
use std::path::PathBuf;

/// Run a broker for development
#[derive(Debug, Args)]
pub(super) struct Dev {
    #[command(flatten)]
    layer: Layer,
    /// Settings file [default: tidelog.toml, if it is there]
    #[arg(long, env = "TIDELOG_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    common: Common,
}

impl Dev {
    pub(super) async fn run(self) -> Result<()> {
        super::start_logging("tidelog=warn,warn");
        let settings = self.layer.over(Layer::from_file(self.config.as_deref())?).settings(true)?;
        let data_dir = settings.data_dir.clone();
        let tls = settings.tls.clone();
        let ready = async |ready: Ready| {
            let (principal, password) = ready.broker.dev_account().await?;
            let Ready { kafka, http, admin_token, .. } = ready;
            let (account, username) = (&principal.cluster.account.name, &principal.username);
            match self.common.output {
                Output::Json => say!(
                    "{}",
                    json!({
                        "kafka": kafka, "http": http, "account": account,
                        "username": username, "password": password, "admin_token": admin_token,
                    })
                ),
                Output::Table => {
                    let only_tls = tls.is_some_and(|tls| tls.required);
                    let text = include_str!("dev.txt")
                        .replace("{protocol}", if only_tls { "SASL_SSL" } else { "SASL_PLAINTEXT" })
                        .replace("{kafka}", &kafka)
                        .replace("{http}", &http)
                        .replace("{account}", account)
                        .replace("{username}", username)
                        .replace("{password}", &password)
                        .replace("{admin_token}", &admin_token)
                        .replace("{data_dir}", &data_dir.display().to_string());
                    say!("{}", text.trim_end());
                }
            }
            Ok(())
        };
        run(settings, ready, super::stop_signal()).await
    }
}
