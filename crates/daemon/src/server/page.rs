//! What needs no token: the app's files and the description of the API.

use axum::Json;
use axum::extract::Request;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};

use super::{door, events, failure, files, messages, money, people, room, safety, tools};
use crate::app;

/// A file of the app, or the answer that there is no such path.
pub(crate) async fn file(request: Request) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD)
        && let Some(file) = app::file(request.uri().path())
    {
        return file;
    }
    failure::not_found().await.into_response()
}

/// The description of all paths, made from the types they use.
pub(crate) async fn description() -> Json<utoipa::openapi::OpenApi> {
    std::future::ready(()).await;
    Json(described())
}

pub(super) fn described() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "SmartMesh local API",
        description = "The node on this device. All paths under /v1 want the token of api.json in the data folder as `Authorization: Bearer TOKEN`."
    ),
    paths(
        tools::status, tools::doctor, tools::ping, tools::trace, tools::perf, tools::visibility, tools::shutdown,
        door::key, door::sign_out,
        people::id, people::set_name, people::invite, people::nearby, people::contacts, people::add, people::forget, people::rename, people::block, people::phrase, people::verify,
        messages::list, messages::send, messages::show, messages::read, messages::cancel, messages::react, messages::edit, messages::delete,
        messages::search, messages::conversations, messages::clear, messages::read_all,
        files::list, files::share, files::fetch, files::cancel, files::content,
        money::wallet, money::history, money::backup, money::restore, money::authorise, money::submit, money::request, money::pay,
        safety::call, safety::call_off, safety::calls, safety::claim, safety::export_calls, safety::report, safety::people,
        safety::export_people, safety::bulletins, safety::publish, safety::pins, safety::pin, safety::unpin,
        room::list, room::say, room::mutes, room::mute, room::unmute, room::mute_list, room::adopt,
        events::stream,
    ),
    components(schemas(smartmesh_api::Event, smartmesh_api::ErrorBody)),
    modifiers(&Token, &Names),
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

/// Names each operation after its subject too: handlers of two subjects may share a name, operations may not.
struct Names;

impl utoipa::Modify for Names {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        for item in openapi.paths.paths.values_mut() {
            for operation in [
                &mut item.get,
                &mut item.post,
                &mut item.put,
                &mut item.delete,
            ] {
                let Some(operation) = operation else { continue };
                let subject = operation.tags.iter().flatten().next();
                if let (Some(subject), Some(name)) = (subject, &operation.operation_id) {
                    operation.operation_id = Some(format!("{subject}_{name}"));
                }
            }
        }
    }
}
