//! What a request is about, or why it is not answered. No I/O.

use hyper::header::HOST;
use hyper::{Method, Request, Version};

use super::Hosts;

/// What there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    /// `/`: what there is, in words.
    Index,
    /// `/healthz`
    Health,
    /// `/readyz`
    Ready,
    /// `/metrics`
    Metrics,
    /// `/api/state`
    State,
}

/// Each with its path and what it is.
pub(super) const RESOURCES: [(&str, Resource, &str); 5] = [
    ("/", Resource::Index, "this page"),
    (
        "/healthz",
        Resource::Health,
        "200 while the program answers",
    ),
    (
        "/readyz",
        Resource::Ready,
        "200 while the broker runs and what should be kept can be; else 503 and why",
    ),
    ("/metrics", Resource::Metrics, "figures for Prometheus"),
    (
        "/api/state",
        Resource::State,
        "the whole state as JSON, with what needs attention",
    ),
];

/// Why a request is not answered; its sender is to blame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// Nothing is changed here.
    Method,
    /// It names no host, or several, as only a broken client does.
    NoHost,
    /// It names a host that is not ours.
    Host,
    /// There is no such path.
    Path,
}

/// What is asked for.
pub(super) fn resource<B>(request: &Request<B>, hosts: &Hosts) -> Result<Resource, Refusal> {
    // The host first: a page of another site learns nothing, not even what there is.
    let host = host(request)?;
    if host.is_some_and(|host| !hosts.answer_to(host)) {
        return Err(Refusal::Host);
    }
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return Err(Refusal::Method);
    }
    let path = request.uri().path();
    let found = RESOURCES.iter().find(|(known, ..)| *known == path);
    found.map_or(Err(Refusal::Path), |(_, resource, _)| Ok(*resource))
}

/// The host that it names. A client of HTTP/1.0 need not name one (RFC 9112 section 3.2); browsers always do.
fn host<B>(request: &Request<B>) -> Result<Option<&str>, Refusal> {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = fields.next();
    if fields.next().is_some() || (field.is_none() && request.version() >= Version::HTTP_11) {
        return Err(Refusal::NoHost);
    }
    if let Some(authority) = request.uri().authority() {
        // What a request says for a proxy counts more than the field (RFC 9112 section 3.2.2).
        return Ok(Some(authority.as_str()));
    }
    let host = field.map(|host| host.to_str().map_err(|_| Refusal::NoHost));
    host.transpose()
}

#[cfg(test)]
mod tests {
    use hyper::http::request::Builder;

    use super::*;

    fn ask(request: Builder) -> Result<Resource, Refusal> {
        let hosts = Hosts::of("127.0.0.1".parse().unwrap(), None);
        resource(&request.body(()).unwrap(), &hosts)
    }

    #[test]
    fn each_path_is_found_whatever_its_query() {
        for (path, resource, _) in RESOURCES {
            for uri in [path.to_owned(), format!("{path}?x=1")] {
                let request = Request::get(&uri).header(HOST, "localhost");
                assert_eq!(ask(request), Ok(resource), "{uri}");
            }
        }
        for path in ["/metrics/", "/api", "//", "/%6detrics", "/../metrics"] {
            let request = Request::get(path).header(HOST, "localhost");
            assert_eq!(ask(request), Err(Refusal::Path), "{path}");
        }
    }

    #[test]
    fn nothing_can_be_changed() {
        let request = |method| Request::builder().method(method).header(HOST, "localhost");
        assert_eq!(ask(request(Method::HEAD)), Ok(Resource::Index));
        for method in [
            Method::POST,
            Method::OPTIONS,
            Method::CONNECT,
            Method::TRACE,
        ] {
            assert_eq!(
                ask(request(method.clone())),
                Err(Refusal::Method),
                "{method}"
            );
        }
    }

    #[test]
    fn a_request_names_one_host_which_is_ours() {
        let get = |uri: &str| Request::get(uri);
        assert_eq!(ask(get("/")), Err(Refusal::NoHost));
        assert_eq!(ask(get("/").version(Version::HTTP_10)), Ok(Resource::Index));
        let two = get("/").header(HOST, "localhost").header(HOST, "localhost");
        assert_eq!(ask(two), Err(Refusal::NoHost));
        let foreign = get("/")
            .version(Version::HTTP_10)
            .header(HOST, "evil.example");
        assert_eq!(ask(foreign), Err(Refusal::Host));
        let absolute = |uri| get(uri).header(HOST, "localhost");
        assert_eq!(ask(absolute("http://evil.example/")), Err(Refusal::Host));
        assert_eq!(ask(absolute("http://localhost/")), Ok(Resource::Index));
        let user = absolute("http://user@localhost/");
        assert_eq!(ask(user), Err(Refusal::Host));
    }

    #[test]
    fn a_foreign_page_does_not_learn_what_there_is() {
        let request = Request::post("/none").header(HOST, "evil.example");
        assert_eq!(ask(request), Err(Refusal::Host));
    }
}
