//! The web console: static files, embedded; everything they show comes from the public API.

use axum::Router;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS,
};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

/// Nothing but this origin's own files, and nobody frames them.
const POLICY: &str =
    "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

macro_rules! files {
    ($($name:literal => $kind:expr),* $(,)?) => {
        &[$(($name, $kind, include_str!(concat!("console/", $name)))),*]
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const FILES: &[(&str, &str, &str)] = files! {
    "api.js" => SCRIPT,
    "app.js" => SCRIPT,
    "codeblock.js" => SCRIPT,
    "connect.js" => SCRIPT,
    "copy.js" => SCRIPT,
    "dom.js" => SCRIPT,
    "highlight.js" => SCRIPT,
    "index.html" => HTML,
    "mark.svg" => SVG,
    "password.js" => SCRIPT,
    "quote.js" => SCRIPT,
    "router.js" => SCRIPT,
    "sea.svg" => SVG,
    "session.js" => SCRIPT,
    "signin.js" => SCRIPT,
    "snippets.js" => SCRIPT,
    "style.css" => CSS,
    "tabs.js" => SCRIPT,
    "topicpicker.js" => SCRIPT,
    "wordmark.js" => SCRIPT,
};

/// Its routes. Where it redirects to is relative: a proxy may have put the whole below a path.
pub fn router() -> Router {
    Router::new()
        .route("/console", get(|| async { Redirect::permanent("console/") }))
        .route("/console/", get(|| async { file("index.html") }))
        .route("/console/{file}", get(|Path(name): Path<String>| async move { file(&name) }))
}

fn file(name: &str) -> Response {
    let Some((_, kind, text)) = FILES.iter().find(|(known, ..)| *known == name) else {
        return (StatusCode::NOT_FOUND, "there is no such file in the console").into_response();
    };
    let headers = [
        (CONTENT_TYPE, *kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // Asked for again each time, so that a new version shows at once.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, *text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_console_is_served() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/src/console");
        for entry in std::fs::read_dir(dir).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            // It only tells Node that the scripts are modules.
            let served = FILES.iter().any(|(known, ..)| *known == name) || name == "package.json";
            assert!(served, "{name} is not in the list");
        }
    }
}
