//! `tidelog account` and `tidelog credential`, over the management API.

use super::print::say;
use super::{Common, Output};
use crate::broker::ADMIN_TOKEN_FILE;
use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug, Subcommand)]
pub(super) enum AccountCommand {
    /// Create an account with a first credential
    Create {
        /// 1 to 64 letters, digits, '-' or '_'
        name: String,
        #[command(flatten)]
        api: Api,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum CredentialCommand {
    /// Create a further credential for an account
    Create {
        /// The account's name
        account: String,
        #[command(flatten)]
        api: Api,
    },
}

/// How the management API is reached.
#[derive(Debug, Args)]
pub(super) struct Api {
    /// The broker's HTTP address
    #[arg(long, env = "TIDELOG_URL", default_value = "http://127.0.0.1:8080", value_name = "URL")]
    #[arg(value_parser = super::api::base_url)]
    url: String,
    /// The admin token [default: the one in the data directory]
    #[arg(long, env = "TIDELOG_ADMIN_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    #[arg(allow_hyphen_values = true)]
    admin_token: Option<String>,
    /// The data directory to take the admin token from
    #[arg(long, env = "TIDELOG_DATA_DIR", default_value = "./tidelog-data", value_name = "DIR")]
    data_dir: PathBuf,
    #[command(flatten)]
    common: Common,
}

impl AccountCommand {
    pub(super) async fn run(self) -> Result<()> {
        let Self::Create { name, api } = self;
        let created = api.post("/v1/accounts", &json!({ "name": name })).await?;
        api.print(&created)
    }
}

impl CredentialCommand {
    pub(super) async fn run(self) -> Result<()> {
        let Self::Create { account, api } = self;
        let path = format!("/v1/accounts/{}/credentials", super::api::segment(&account));
        let created = api.post(&path, &json!({})).await?;
        api.print(&created)
    }
}

impl Api {
    async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        let token = match &self.admin_token {
            Some(token) => token.clone(),
            None => token_in(&self.data_dir)?,
        };
        let url = format!("{}{path}", self.url);
        let request = crate::http_client::new()?.post(&url).bearer_auth(token).json(body);
        let created = super::api::send(&self.url, request).await?;
        Ok(super::api::with_text(&self.url, created, "password")?)
    }

    fn print(&self, created: &Value) -> Result<()> {
        if self.common.output == Output::Json {
            say!("{created}");
            return Ok(());
        }
        for field in ["account", "username", "password"] {
            say!("{field:<10}{}", created[field].as_str().unwrap_or_default());
        }
        say!("The password is shown this once.");
        Ok(())
    }
}

fn token_in(data_dir: &Path) -> Result<String> {
    let path = data_dir.join(ADMIN_TOKEN_FILE);
    let token = std::fs::read_to_string(&path).with_context(|| {
        format!("no --admin-token given, and none to read in {}", path.display())
    })?;
    Ok(token.trim().to_owned())
}
