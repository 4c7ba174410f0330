//! Who may speak to the API at all.

use std::net::{IpAddr, SocketAddr};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Api, Failure};

/// Lets a browser load and run nothing but what this server itself gives out, and nobody embed it.
const POLICY: &str = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; media-src 'self' blob:; \
connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors";

/// Subprotocol by which a browser, which can't set headers on a WebSocket, gives the token.
pub(super) const TOKEN_PROTOCOL: &str = "bearer.";

/// Refuses foreign hosts and origins, and puts the policy on every answer.
pub(super) async fn check_origin(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = match judge(request.method(), request.headers(), api.address) {
        Ok(()) => next.run(request).await,
        Err(failure) => failure.into_response(),
    };
    let ancestors = api.info.framed_by.as_deref().unwrap_or("'none'");
    if let Ok(policy) = HeaderValue::from_str(&format!("{POLICY} {ancestors}")) {
        response
            .headers_mut()
            .insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response
        .headers_mut()
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        response
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    response
}

fn judge(method: &Method, headers: &HeaderMap, api: SocketAddr) -> Result<(), Failure> {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let Some(host) = host.filter(|host| is_ours(host, api)) else {
        return Err(Failure::forbidden(
            "the Host header must name this API's own loopback address",
        ));
    };
    if let Some(origin) = headers.get(header::ORIGIN) {
        let same = origin
            .to_str()
            .is_ok_and(|origin| origin.strip_prefix("http://") == Some(host));
        if !same {
            return Err(Failure::forbidden(
                "pages of other origins may not use this API",
            ));
        }
    }
    // No page elsewhere may ask whether it might; same-origin pages never need to.
    if method == Method::OPTIONS {
        return Err(Failure::forbidden(
            "pages of other origins may not use this API",
        ));
    }
    Ok(())
}

/// Whether a `Host` is `localhost` or a loopback address, taken as an address and not as a prefix, with the API's port.
fn is_ours(host: &str, api: SocketAddr) -> bool {
    let Some((name, port)) = host.rsplit_once(':') else {
        return false;
    };
    let name = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'))
        .unwrap_or(name);
    let local = name == "localhost" || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
    local && port.parse() == Ok(api.port())
}

/// Refuses who does not know the token.
pub(super) async fn require_token(
    State(api): State<Api>,
    request: Request,
    next: Next,
) -> Response {
    let given = token_of(request.headers());
    match given {
        Some(given) if api.door.admits(&given) => next.run(request).await,
        Some(_) | None => Failure::unauthorized().into_response(),
    }
}

fn token_of(headers: &HeaderMap) -> Option<String> {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(value) = text(&header::AUTHORIZATION) {
        return value
            .strip_prefix("Bearer ")
            .map(|token| token.trim().to_owned());
    }
    let protocols = text(&header::SEC_WEBSOCKET_PROTOCOL)?;
    let tokens = protocols
        .split(',')
        .filter_map(|one| one.trim().strip_prefix(TOKEN_PROTOCOL));
    tokens.map(str::to_owned).next()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(pairs: &[(HeaderName, &str)]) -> bool {
        let headers = pairs
            .iter()
            .map(|(name, value)| (name.clone(), value.parse().unwrap()))
            .collect();
        judge(&Method::GET, &headers, "127.0.0.1:21326".parse().unwrap()).is_ok()
    }

    #[test]
    fn only_loopback_hosts_with_our_port_are_ours() {
        for host in [
            "127.0.0.1:21326",
            "localhost:21326",
            "[::1]:21326",
            "127.0.0.7:21326",
        ] {
            assert!(allowed(&[(header::HOST, host)]), "{host}");
        }
        for host in [
            "evil.example:21326",
            "127.0.0.1:80",
            "127.0.0.1",
            "127.0.0.1.evil.example:21326",
            "10.0.0.1:21326",
            "localhost.evil:21326",
            "",
        ] {
            assert!(!allowed(&[(header::HOST, host)]), "{host}");
        }
        assert!(!allowed(&[]));
    }

    #[test]
    fn only_our_own_pages_may_ask() {
        let host = (header::HOST, "127.0.0.1:21326");
        assert!(allowed(&[
            host.clone(),
            (header::ORIGIN, "http://127.0.0.1:21326")
        ]));
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:8080",
            "https://127.0.0.1:21326",
            "http://localhost:21326",
        ] {
            assert!(
                !allowed(&[host.clone(), (header::ORIGIN, origin)]),
                "{origin}"
            );
        }
    }
}
