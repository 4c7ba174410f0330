//! The app's files, embedded at build time; each is compressed with gzip, which every browser reads.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// Path and compressed content of each file.
static FILES: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/app.rs"));

/// What is served as the front page when the app was not built.
const NOT_BUILT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>SmartMesh</title>\
<h1>SmartMesh is running, without its app</h1><p>This program was built without the app. Build both with <code>cargo xtask \
build</code> (it needs Node.js and npm), or use the command <code>smartmesh</code>; <a href=\"/openapi.json\">the local \
API</a> is here.</p></html>";

/// The answer with a file of the app, or nothing if there is none of this name.
pub fn file(path: &str) -> Option<Response> {
    let wanted = match path {
        "/" => "/index.html",
        "/village" => "/village.html",
        other => other,
    };
    let Some((_, content)) = FILES.iter().find(|(name, _)| *name == wanted) else {
        return (path == "/").then(|| plain(NOT_BUILT));
    };
    let mut response = Response::new(Body::from(*content));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, media_type(wanted));
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    // Names under `assets` hold a hash of the content; everything else is asked for anew.
    let keep = if wanted.starts_with("/assets/") {
        "public, max-age=31536000, immutable"
    } else {
        "no-cache"
    };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    Some(response)
}

fn plain(page: &'static str) -> Response {
    let mut response = Response::new(Body::from(page));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, media_type("/index.html"));
    response
}

fn media_type(name: &str) -> HeaderValue {
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    HeaderValue::from_static(match ending {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "webmanifest" => "application/manifest+json",
        "json" => "application/json",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_always_a_front_page() {
        let page = file("/").unwrap();
        assert_eq!(
            page.headers()[header::CONTENT_TYPE],
            "text/html; charset=utf-8"
        );
        assert!(file("/../secret").is_none());
        assert!(file("/nothing").is_none());
    }
}
