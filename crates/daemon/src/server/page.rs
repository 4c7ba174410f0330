//! What needs no token: the front page and the description of the API.

use axum::Json;
use axum::response::Html;
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::{events, files, messages, people, tools};

const FRONT: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>SmartMesh</title>\
<h1>SmartMesh is running</h1><p>Use the command <code>smartmesh</code>, or read <a href=\"/openapi.json\">what the local API \
offers</a>.</p></html>";

/// A page that says that the node runs.
pub(crate) async fn front() -> Html<&'static str> {
    std::future::ready(()).await;
    Html(FRONT)
}

/// The description of all paths, made from the types they use.
pub(crate) async fn description() -> Json<utoipa::openapi::OpenApi> {
    std::future::ready(()).await;
    Json(Description::openapi())
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SmartMesh local API",
        description = "The node on this device. All paths under /v1 want the token of api.json in the data folder as `Authorization: Bearer TOKEN`."
    ),
    paths(
        tools::status, tools::doctor, tools::ping, tools::trace, tools::perf, tools::visibility, tools::shutdown,
        people::id, people::invite, people::nearby, people::contacts, people::add, people::forget, people::rename, people::block,
        messages::list, messages::send, messages::show, messages::read, messages::cancel,
        files::list, files::share, files::fetch, files::cancel, files::content,
        events::stream,
    ),
    components(schemas(smartmesh_api::Event, smartmesh_api::ErrorBody)),
    modifiers(&Token),
    security(("token" = []))
)]
struct Description;

/// Names the token as the way in.
struct Token;

impl utoipa::Modify for Token {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        if let Some(components) = &mut openapi.components {
            components.add_security_scheme(
                "token",
                SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer)),
            );
        }
    }
}
