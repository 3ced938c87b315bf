//! Accounts and credentials, for the operator.

use crate::account::{CreateError, Secret};
use crate::http::{Admin, ApiError, Context, Json, Segments};
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    name: String,
}

/// The only time the password is told.
#[derive(Serialize)]
pub(super) struct Created {
    account: String,
    username: String,
    password: String,
}

impl Created {
    fn new(account: &str, secret: Secret) -> Self {
        let Secret { username, password } = secret;
        Self { account: account.to_owned(), username, password }
    }
}

/// `POST /v1/accounts {"name":"acme"}`
pub(super) async fn create(
    _: Admin,
    State(context): State<Context>,
    Json(new): Json<NewAccount>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let created = context.broker.create_account(&new.name).await;
    let (_, secret) = created.map_err(|error| match error {
        CreateError::InvalidName(_) => ApiError::bad_request(error.to_string()),
        CreateError::Exists(_) => ApiError::conflict(error.to_string()),
        CreateError::Control(error) => ApiError::internal(error),
    })?;
    Ok((StatusCode::CREATED, Json(Created::new(&new.name, secret))))
}

/// `POST /v1/accounts/{account}/credentials`
pub(super) async fn create_credential(
    _: Admin,
    State(context): State<Context>,
    Segments(account): Segments<String>,
) -> Result<(StatusCode, Json<Created>), ApiError> {
    let Some(cluster) = context.broker.cluster_by_name(&account) else {
        return Err(ApiError::not_found(format!("account '{account}' does not exist")));
    };
    let created = context.broker.create_credential(&cluster).await;
    let secret = created.map_err(ApiError::internal)?;
    Ok((StatusCode::CREATED, Json(Created::new(&account, secret))))
}
