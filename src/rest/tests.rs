//! The handlers, through the router, on a broker in a directory of its own.

use super::*;
use crate::settings::Layer;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use http_body_util::BodyExt;
use tower::ServiceExt;
