//! `tidelog sync`: syncs of an account, over the management API.

mod backfill;
mod verify;

use super::api::{Api, print_table, read_json};
use super::print::say;
use anyhow::Result;
use clap::{Args, Subcommand};
use reqwest::Method;
use reqwest::header::IF_NONE_MATCH;
use serde_json::{Map, Value, json};

#[derive(Debug, Subcommand)]
pub(super) enum SyncCommand {
    /// Create a sync
    Create {
        /// Its id [default: sync_ and 8 hex digits, made by the broker]
        id: Option<String>,
        #[command(flatten)]
        definition: DefinitionArgs,
        #[command(flatten)]
        api: Api,
    },
    /// List the syncs
    List {
        #[command(flatten)]
        api: Api,
    },
    /// Show a sync, its collections and their topics
    Describe {
        /// The sync's id
        id: String,
        #[command(flatten)]
        api: Api,
    },
    /// Change some of a sync; what is not mentioned stays
    Update {
        /// The sync's id
        id: String,
        #[command(flatten)]
        definition: DefinitionArgs,
        #[command(flatten)]
        api: Api,
    },
    /// Compare the state of a sync's records with what its topics say
    Verify {
        /// The sync's id
        id: String,
        /// Only this collection
        #[arg(long, value_name = "SLUG")]
        collection: Option<String>,
        #[command(flatten)]
        api: Api,
    },
    /// Publish what the records of a collection are once more, as updated events
    Backfill {
        /// The sync's id
        id: String,
        /// The collection
        #[arg(long, value_name = "SLUG")]
        collection: String,
        /// End the one that is running
        #[arg(long)]
        cancel: bool,
        #[command(flatten)]
        api: Api,
    },
    /// Delete a sync and what is known of its records
    Delete {
        /// The sync's id
        id: String,
        /// Delete its topics and their events too
        #[arg(long)]
        topics: bool,
        #[command(flatten)]
        api: Api,
    },
}

/// What is said of a sync.
#[derive(Debug, Args)]
pub(super) struct DefinitionArgs {
    /// A JSON file with the definition; `-` is standard input. Flags go over it
    #[arg(long, value_name = "FILE")]
    file: Option<String>,
    /// What people call it
    #[arg(long)]
    name: Option<String>,
    /// Where the records come from
    #[arg(long)]
    provider: Option<String>,
    /// What it is in your own books
    #[arg(long, value_name = "ID")]
    external_id: Option<String>,
    /// How columns and tables are named: as-is or snake_case
    #[arg(long, value_name = "RULE")]
    naming: Option<String>,
    /// A collection, and its table if that is to be said
    #[arg(long = "collection", value_name = "SLUG[=TABLE]")]
    collections: Vec<String>,
}

impl SyncCommand {
    pub(super) async fn run(self) -> Result<()> {
        match self {
            Self::Create { id, definition, api } => {
                let body = definition.json()?;
                let made = match id {
                    // One that is there is not replaced.
                    Some(id) => {
                        let client = crate::http_client::new()?;
                        let put = api.request(&client, Method::PUT, &path(&id)).json(&body);
                        api.send(put.header(IF_NONE_MATCH, "*")).await?
                    }
                    None => api.ask(Method::POST, "/v1/syncs", Some(&body)).await?,
                };
                api.print(&api.with_text(made, "id")?, describe);
            }
            Self::List { api } => list(&api).await?,
            Self::Describe { id, api } => {
                let sync = api.ask(Method::GET, &path(&id), None).await?;
                api.print(&api.with_text(sync, "id")?, describe);
            }
            Self::Update { id, definition, api } => {
                let changed = api.ask(Method::PATCH, &path(&id), Some(&definition.json()?)).await?;
                api.print(&api.with_text(changed, "id")?, describe);
            }
            Self::Verify { id, collection, api } => {
                verify::run(&api, &id, collection.as_deref()).await?;
            }
            Self::Backfill { id, collection, cancel, api } => {
                backfill::run(&api, &id, &collection, cancel).await?;
            }
            Self::Delete { id, topics, api } => {
                let fate = if topics { "delete" } else { "keep" };
                let path = format!("{}?topics={fate}", path(&id));
                let deleted = api.ask(Method::DELETE, &path, None).await?;
                api.print(&api.with_text(deleted, "deleted")?, |deleted| {
                    say!("deleted {id}");
                    for (fate, said) in [("kept", "is kept"), ("deleted", "is deleted")] {
                        for topic in deleted["topics"][fate].as_array().into_iter().flatten() {
                            say!("topic {} {said}", text(topic));
                        }
                    }
                });
            }
        }
        Ok(())
    }
}

impl DefinitionArgs {
    fn json(&self) -> Result<Value> {
        let mut definition = self.file.as_deref().map_or(Ok(json!({})), read_json)?;
        let texts = [
            ("name", &self.name),
            ("provider", &self.provider),
            ("external_id", &self.external_id),
            ("naming", &self.naming),
        ];
        for (field, value) in texts {
            if let Some(value) = value {
                definition[field] = json!(value);
            }
        }
        for collection in &self.collections {
            let (slug, table) = match collection.split_once('=') {
                Some((slug, table)) => (slug, json!({ "table": table })),
                None => (collection.as_str(), json!({})),
            };
            if !definition["collections"].is_object() {
                definition["collections"] = Value::Object(Map::new());
            }
            definition["collections"][slug] = table;
        }
        Ok(definition)
    }
}

/// Syncs asked for at a time.
const PAGE: usize = 100;

async fn list(api: &Api) -> Result<()> {
    let mut syncs: Vec<Value> = Vec::new();
    loop {
        let after = syncs.last().map_or(String::new(), |last| text(&last["id"]));
        let page = format!("/v1/syncs?limit={PAGE}&after={after}");
        let answer = api.ask(Method::GET, &page, None).await?;
        let Value::Array(page) = answer else { return Err(api.foreign(&answer).into()) };
        let is_last = page.len() < PAGE;
        syncs.extend(page);
        if is_last {
            break;
        }
    }
    api.print(&Value::Array(syncs), |syncs| {
        let row = |sync: &Value| {
            let collections = sync["status"]["collections"].as_object().map_or(0, Map::len);
            let fields = ["id", "name", "provider", "external_id"].map(|field| text(&sync[field]));
            [fields.to_vec(), vec![collections.to_string()]].concat()
        };
        let rows: Vec<_> = syncs.as_array().into_iter().flatten().map(row).collect();
        print_table(&["ID", "NAME", "PROVIDER", "EXTERNAL ID", "COLLECTIONS"], &rows);
    });
    Ok(())
}

fn describe(sync: &Value) {
    for field in ["id", "name", "provider", "external_id", "naming"] {
        if let Some(value) = sync[field].as_str() {
            say!("{:<13}{value}", field.replace('_', " "));
        }
    }
    let row = |(slug, it): (&String, &Value)| {
        let version = it["mapping_version"].to_string();
        vec![slug.clone(), text(&it["table"]), text(&it["topic"]), version]
    };
    let collections = sync["status"]["collections"].as_object();
    let rows: Vec<_> = collections.into_iter().flatten().map(row).collect();
    match rows.is_empty() {
        true => say!("No collections yet: the first record makes one."),
        false => print_table(&["COLLECTION", "TABLE", "TOPIC", "MAPPING"], &rows),
    }
}

fn path(id: &str) -> String {
    format!("/v1/syncs/{}", super::api::segment(id))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
