//! What is answered. No I/O: the state is handed in.
//!
//! Every answer has the same fields for browsers: nothing here is kept in a cache, guessed to be something else, framed by
//! another page or read by one.

use std::fmt::Write as _;

use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};

use super::request::{RESOURCES, Refusal};
use super::{metrics, ready};
use crate::status::GatewayState;

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
/// What Prometheus calls its text format.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Of every answer.
const FIELDS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-store"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        CONTENT_SECURITY_POLICY,
        "default-src 'none'; frame-ancestors 'none'",
    ),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
];

fn answer(status: StatusCode, kind: &'static str, body: String) -> Response<String> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in FIELDS {
        fields.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// `/`
pub(super) fn index() -> Response<String> {
    let mut text = format!("fieldgate {}\n\n", env!("CARGO_PKG_VERSION"));
    text.push_str(&list());
    answer(StatusCode::OK, TEXT, text)
}

/// `/healthz`
pub(super) fn health() -> Response<String> {
    answer(StatusCode::OK, TEXT, "ok\n".to_owned())
}

/// `/readyz`
pub(super) fn ready(state: &GatewayState) -> Response<String> {
    let reasons = ready::reasons(state);
    if reasons.is_empty() {
        return answer(StatusCode::OK, TEXT, "ready\n".to_owned());
    }
    unavailable(&reasons.join("\n"))
}

/// `/metrics`
pub(super) fn metrics(state: &GatewayState) -> Response<String> {
    answer(StatusCode::OK, EXPOSITION, metrics::exposition(state))
}

/// `/api/state`
pub(super) fn state(state: &GatewayState) -> Response<String> {
    match serde_json::to_string(state) {
        Ok(body) => answer(StatusCode::OK, JSON, body + "\n"),
        Err(fault) => {
            let text = format!("the state makes no JSON: {fault}; this is a fault of fieldgate\n");
            answer(StatusCode::INTERNAL_SERVER_ERROR, TEXT, text)
        }
    }
}

/// It cannot be answered now.
pub(super) fn unavailable(why: &str) -> Response<String> {
    answer(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{why}\n"))
}

/// It is not answered.
pub(super) fn refusal(refusal: Refusal) -> Response<String> {
    let say = |status, text: &str| answer(status, TEXT, text.to_owned());
    match refusal {
        Refusal::Method => {
            let text = "only GET and HEAD: nothing can be changed here\n";
            let mut response = say(StatusCode::METHOD_NOT_ALLOWED, text);
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            response
        }
        Refusal::NoHost => say(
            StatusCode::BAD_REQUEST,
            "the request must name its host, once\n",
        ),
        Refusal::Host => say(
            StatusCode::MISDIRECTED_REQUEST,
            "the host of the request is not this machine; ask for localhost, or have the proxy in between do so\n",
        ),
        Refusal::Path => {
            let text = format!("there is no such path; there are:\n\n{}", list());
            answer(StatusCode::NOT_FOUND, TEXT, text)
        }
    }
}

fn list() -> String {
    let mut text = String::new();
    for (path, _, what) in RESOURCES {
        // Writing to a string cannot fail.
        writeln!(text, "{path:<12}{what}").unwrap_or_default();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_is_safe_from_browsers() {
        let state = GatewayState::default();
        for response in [
            index(),
            health(),
            ready(&state),
            metrics(&state),
            super::state(&state),
            unavailable("x"),
            refusal(Refusal::Method),
            refusal(Refusal::NoHost),
            refusal(Refusal::Host),
            refusal(Refusal::Path),
        ] {
            let fields = response.headers();
            assert_eq!(fields[CACHE_CONTROL], "no-store");
            assert_eq!(fields[X_CONTENT_TYPE_OPTIONS], "nosniff");
            assert!(fields.contains_key(CONTENT_TYPE));
            assert!(!fields.contains_key("access-control-allow-origin"));
            assert!(response.body().ends_with('\n'));
        }
    }

    #[test]
    fn the_state_is_the_whole_state() {
        let state = GatewayState {
            gateway: "g1".to_owned(),
            ..GatewayState::default()
        };
        let body = super::state(&state).into_body();
        assert_eq!(serde_json::from_str::<GatewayState>(&body).unwrap(), state);
    }
}
