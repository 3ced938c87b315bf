//! The broker: opens the data directory, and knows which cluster a credential stands for.

use crate::account::{self, Account, CreateError, Credentials, DEV_ACCOUNT, Secret};
use crate::cluster::{self, Cluster, Shared};
use crate::control::{Control, GroupConfigRow, TopicRow};
use crate::group::Deadlines;
use crate::id;
use crate::producer_ids::ProducerIds;
use crate::room::Room;
use crate::settings::Settings;
use crate::state::State;
use crate::task::{blocking, to_the_end};
use crate::topic::Catalog;
use anyhow::{Context, Result, bail};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tidelog_storage as storage;
use tokio::sync::watch;

/// Who a connection or request is.
#[derive(Clone)]
pub struct Principal {
    /// The credential that was used, or `anonymous` for a client of `tidelog dev` without one.
    pub username: String,
    /// The account's cluster.
    pub cluster: Arc<Cluster>,
}

/// The whole process's state.
pub struct Broker {
    /// What all clusters share.
    pub shared: Shared,
    credentials: Credentials,
    clusters: RwLock<HashMap<String, Arc<Cluster>>>,
    admin_token_digest: [u8; 32],
    /// The first failure after which nothing more may be acknowledged.
    failure: watch::Receiver<Option<String>>,
}

impl Broker {
    /// Opens everything in the data directory: after this, every acknowledged record, offset and
    /// definition is there again. Also gives the admin token.
    pub async fn open(settings: Settings) -> Result<(Arc<Self>, String)> {
        Self::open_on(Arc::new(storage::fs::Disk), settings).await
    }

    /// The same, with the logs on this file system.
    pub(crate) async fn open_on(
        fs: Arc<dyn storage::fs::Fs>,
        settings: Settings,
    ) -> Result<(Arc<Self>, String)> {
        let settings = Arc::new(settings);
        let dir = settings.data_dir.clone();
        let (failed, failure) = watch::channel(None);
        let failed = Arc::new(failed);
        let volume = {
            let (failed, dir) = (failed.clone(), dir.clone());
            let on_failure = Box::new(move |error: &storage::Error| {
                failed.send_replace(Some(format!("the log cannot be synced: {error}")));
            });
            let options = storage::VolumeOptions { flush: settings.flush };
            storage::Volume::open(fs, &dir, options, on_failure)?
        };
        volume.on_event(Box::new(tell));
        let state_dir = dir.join("state");
        let on_failure = Arc::new(move |error: &fjall::Error| {
            failed.send_replace(Some(format!("the state store cannot be synced: {error}")));
        });
        // The volume's lock is held: nobody else has them. Each waits for the disk, side by side.
        let token_of = settings.clone();
        let (control, state, admin_token) = tokio::join!(
            async { Control::open(&dir.join("control.db")).await.context("control.db") },
            blocking(move || State::open(&state_dir, on_failure).context("state")),
            blocking(move || admin_token(&token_of)),
        );
        let (control, state, admin_token) = (control?, state?, admin_token?);
        let spare = volume.clone();
        let state = state.with_room(Arc::new(move || spare.check_spare().is_ok()));
        let deadlines = Deadlines::default();
        let producer_ids = Arc::new(ProducerIds::new(control.clone()));
        let broker = Arc::new(Self {
            shared: Shared {
                settings,
                control,
                volume,
                producer_ids,
                state,
                deadlines,
                fetch_sessions: cluster::fetch_sessions(),
                waiting_fetches: cluster::waiting_fetches(),
                batch_parts: cluster::batch_parts(),
                request_room: Room::default(),
                answer_room: Room::for_answers(),
            },
            credentials: Credentials::default(),
            clusters: RwLock::default(),
            admin_token_digest: Sha256::digest(admin_token.as_bytes()).into(),
            failure,
        });
        broker.load().await?;
        Ok((broker, admin_token))
    }

    async fn load(&self) -> Result<()> {
        let control = &self.shared.control;
        for row in control.accounts().await? {
            let cluster = Cluster::new(Account::from(row), self.shared.clone());
            self.clusters.write().insert(cluster.account.id.clone(), Arc::new(cluster));
        }
        for row in control.credentials().await? {
            self.credentials.insert(row);
        }
        self.open_topics(control.topics().await?).await;
        control.group_configs().await?.iter().for_each(|row| self.configure_group(row));
        for cluster in self.clusters() {
            cluster.groups.load();
            finish_deletions(&cluster).await;
        }
        Ok(())
    }

    fn configure_group(&self, row: &GroupConfigRow) {
        let Some(cluster) = self.cluster(&row.account) else { return };
        match serde_json::from_str(&row.configs) {
            Ok(set) => cluster.groups.configure(&row.name, set),
            Err(error) => tracing::error!(
                "what is set on group {} of account {} cannot be read, and the group has the \
                 defaults until something is set anew: {error}",
                row.name,
                row.account
            ),
        }
    }

    async fn open_topics(&self, rows: Vec<TopicRow>) {
        let with_cluster = |row: TopicRow| Some((self.cluster(&row.account)?, row));
        let rows: Vec<_> = rows.into_iter().filter_map(with_cluster).collect();
        let open = move || {
            let stored = rows.iter().map(|(cluster, row)| (&*cluster.topics, row.clone()));
            Catalog::open_all(stored.collect());
        };
        blocking(open).await;
    }

    /// Every account's cluster.
    pub fn clusters(&self) -> Vec<Arc<Cluster>> {
        self.clusters.read().values().cloned().collect()
    }

    /// The cluster of the account with this id.
    pub fn cluster(&self, account_id: &str) -> Option<Arc<Cluster>> {
        self.clusters.read().get(account_id).cloned()
    }

    /// Whether some account's cluster has this id. Those are random: asking tells nobody more than
    /// they knew.
    pub fn has_cluster(&self, cluster_id: &str) -> bool {
        self.clusters.read().values().any(|cluster| cluster.account.cluster_id == cluster_id)
    }

    /// The cluster of the account people call this.
    pub fn cluster_by_name(&self, name: &str) -> Option<Arc<Cluster>> {
        self.clusters.read().values().find(|cluster| cluster.account.name == name).cloned()
    }

    /// Who a username and password stand for.
    pub fn authenticate(&self, username: &str, password: &[u8]) -> Option<Principal> {
        let account = self.credentials.verify(username, password)?;
        Some(Principal { username: username.to_owned(), cluster: self.cluster(&account)? })
    }

    /// Whether this is the management API's token.
    pub fn is_admin(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        self.admin_token_digest.ct_eq(&digest).into()
    }

    /// Creates an account with a first credential.
    pub async fn create_account(
        self: &Arc<Self>,
        name: &str,
    ) -> Result<(Arc<Cluster>, Secret), CreateError> {
        let (broker, name) = (self.clone(), name.to_owned());
        to_the_end(async move { broker.do_create_account(&name).await }).await
    }

    async fn do_create_account(&self, name: &str) -> Result<(Arc<Cluster>, Secret), CreateError> {
        if !account::is_valid_name(name) {
            return Err(CreateError::InvalidName(name.to_owned()));
        }
        let row = account::new_account(name);
        let (credential, secret) = account::new_credential(&row.id, &row.name);
        // The database decides: two at the same moment may ask for one name.
        let added = self.shared.control.add_account(&row, &credential).await;
        added.map_err(|error| match error.as_database_error() {
            Some(reason) if reason.is_unique_violation() => CreateError::Exists(name.to_owned()),
            _ => CreateError::Control(error),
        })?;
        let cluster = Arc::new(Cluster::new(row.into(), self.shared.clone()));
        self.clusters.write().insert(cluster.account.id.clone(), cluster.clone());
        self.credentials.insert(credential);
        Ok((cluster, secret))
    }

    /// Adds a credential to an account.
    pub async fn create_credential(&self, cluster: &Cluster) -> Result<Secret> {
        let (credential, secret) =
            account::new_credential(&cluster.account.id, &cluster.account.name);
        self.shared.control.add_credential(&credential).await?;
        self.credentials.insert(credential);
        Ok(secret)
    }

    /// The account of `tidelog dev`, its credential and password: made at the first start in a
    /// directory, and the same ever after.
    pub async fn dev_account(self: &Arc<Self>) -> Result<(Principal, String)> {
        const PASSWORD: &str = "dev_password";
        const USERNAME: &str = "dev_username";
        let control = &self.shared.control;
        let stored = (control.setting(USERNAME).await?, control.setting(PASSWORD).await?);
        if let (Some(username), Some(password)) = stored
            && let Some(principal) = self.authenticate(&username, password.as_bytes())
        {
            return Ok((principal, password));
        }
        let (cluster, secret) = match self.cluster_by_name(DEV_ACCOUNT) {
            Some(cluster) => {
                let secret = self.create_credential(&cluster).await?;
                (cluster, secret)
            }
            None => self.create_account(DEV_ACCOUNT).await?,
        };
        let Secret { username, password } = &secret;
        control.set_settings(&[(USERNAME, username), (PASSWORD, password)]).await?;
        Ok((Principal { username: secret.username, cluster }, secret.password))
    }

    /// Waits for a failure after which the process must end, and says what failed.
    pub async fn failed(&self) -> String {
        let mut failure = self.failure.clone();
        let reason = failure.wait_for(Option::is_some).await.ok().and_then(|it| it.clone());
        match reason {
            Some(reason) => reason,
            None => std::future::pending().await,
        }
    }

    /// Syncs and closes everything; the next start has nothing to recover.
    pub async fn close(&self) -> Result<()> {
        // Whoever asked for a change of topics may be gone, and it goes on all the same. It ends
        // before the logs close, and none begins after that: the control database closes too.
        let (clusters, mut still) = (self.clusters(), Vec::new());
        for cluster in &clusters {
            tokio::select! {
                held = cluster.topics.hold_still() => still.push(held),
                // It waits for what is never going to be durable.
                reason = self.failed() => bail!("{reason}"),
            }
        }
        let (volume, state) = (self.shared.volume.clone(), self.shared.state.clone());
        tokio::task::spawn_blocking(move || -> Result<()> {
            volume.close()?;
            state.sync()?;
            Ok(())
        })
        .await??;
        self.shared.control.close().await;
        Ok(())
    }
}

/// Deletes the topics whose deletion a crash cut short. What stays is found by the next start:
/// nobody waits for it.
async fn finish_deletions(cluster: &Arc<Cluster>) {
    let topics = cluster.topics.leftovers();
    if topics.is_empty() {
        return;
    }
    let of_each = match cluster.delete_topics(topics).await {
        Ok(of_each) => of_each,
        Err(error) => vec![Err(error)],
    };
    for error in of_each.into_iter().filter_map(Result::err) {
        tracing::error!("of topics of {} not all is deleted yet: {error}", cluster.account.name);
    }
}

/// What the operator should know of the data directory: once when it changes.
fn tell(event: &storage::Event) {
    match event {
        storage::Event::Full(storage::Room { root, free_bytes, margin_bytes }) => tracing::error!(
            "the volume of {} is full: {free_bytes} bytes are free, and the last {margin_bytes} \
             are not for records. Producers get KAFKA_STORAGE_ERROR until there is room; consumers \
             go on, and near the end commits of offsets get COORDINATOR_NOT_AVAILABLE",
            root.display()
        ),
        storage::Event::Room(storage::Room { root, free_bytes, .. }) => tracing::warn!(
            "the volume of {} has room again, {free_bytes} bytes: records are taken",
            root.display()
        ),
        storage::Event::CompactionStopped(segment) => tracing::error!(
            "compaction ends before {}, which is damaged, until `tidelog log repair` has taken the \
             damage out",
            segment.display()
        ),
    }
}

/// Holds the admin token, readable by its owner only.
pub const ADMIN_TOKEN_FILE: &str = "admin-token";

/// The operator's own, or the one made at the first start in this directory.
fn admin_token(settings: &Settings) -> Result<String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    if let Some(token) = &settings.admin_token {
        return Ok(token.clone());
    }
    let path = settings.data_dir.join(ADMIN_TOKEN_FILE);
    match std::fs::read_to_string(&path) {
        Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
        _ => {}
    }
    let token = id::secret();
    let options =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
    let written = options.and_then(|mut file| {
        writeln!(file, "{token}")?;
        file.sync_all()
    });
    written.with_context(|| format!("cannot write {}", path.display()))?;
    Ok(token)
}
