//! Calls for help, how people are, bulletins: what everybody in reach hears.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use smartmesh_api::{
    Bulletin, ClaimSos, Person, Pin, PinKey, Posted, PublishBulletin, ReportPerson, SendSos, Sos,
};
use smartmesh_node::{BoardCommand, CallForHelp, Command, PersonRecord};
use smartmesh_types::{Duration, UnixTime};
use utoipa::IntoParams;

use super::{Api, Failure, export};
use crate::ask::Answer;
use crate::clock;
use crate::convert::board;

/// Calls for help, or tells more about the call that is open; everybody in reach sees it, and it passes every queue.
#[utoipa::path(post, path = "/v1/sos", request_body = SendSos, responses((status = 200, body = Posted)))]
pub(super) async fn call(
    State(api): State<Api>,
    Json(body): Json<SendSos>,
) -> Result<Json<Posted>, Failure> {
    let call = CallForHelp {
        need: board::node_need(body.need),
        people: body.people,
        battery: body.battery,
        place: body.place.map(place).transpose()?,
        note: body.note,
    };
    api.post(BoardCommand::Call(call)).await
}

fn place(place: smartmesh_api::Place) -> Result<smartmesh_node::Place, Failure> {
    board::node_place(place)
        .ok_or_else(|| Failure::bad_request("latitude is -90 to 90 degrees, longitude -180 to 180"))
}

/// Words that go with taking a call back.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Farewell {
    /// In the caller's words.
    #[serde(default)]
    note: String,
}

/// Takes the open call back; signed, so that nobody else can.
#[utoipa::path(delete, path = "/v1/sos", params(Farewell), responses((status = 200, body = Posted)))]
pub(super) async fn call_off(
    State(api): State<Api>,
    Query(farewell): Query<Farewell>,
) -> Result<Json<Posted>, Failure> {
    let note = farewell.note;
    api.post(BoardCommand::CallOff { note }).await
}

/// All calls, as a rescuer wants them: open and unclaimed first, then by need, the weakest battery, the oldest.
#[utoipa::path(get, path = "/v1/sos", responses((status = 200, body = Vec<Sos>)))]
pub(super) async fn calls(State(api): State<Api>) -> Result<Json<Vec<Sos>>, Failure> {
    list_calls(&api).await.map(Json)
}

async fn list_calls(api: &Api) -> Result<Vec<Sos>, Failure> {
    let calls = api.look(|node| node.board().calls()).await?;
    let names = api.board_names().await?;
    Ok(calls.iter().map(|call| board::sos(call, &names)).collect())
}

/// Says what the user does about somebody's open call.
#[utoipa::path(post, path = "/v1/sos/{caller}/claim", params(("caller" = String, Path, description = "an address or a contact's name")), request_body = ClaimSos, responses((status = 200, body = Posted)))]
pub(super) async fn claim(
    State(api): State<Api>,
    Path(caller): Path<String>,
    Json(body): Json<ClaimSos>,
) -> Result<Json<Posted>, Failure> {
    let caller = api.person(&caller).await?;
    let step = board::node_step(body.step);
    let note = body.note;
    api.post(BoardCommand::Claim { caller, step, note }).await
}

/// In which form.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Form {
    /// `gpx`, `geojson` or `csv`.
    format: String,
}

/// All calls for responders' programs.
#[utoipa::path(get, path = "/v1/sos/export", params(Form), responses((status = 200, content_type = "text/plain")))]
pub(super) async fn export_calls(
    State(api): State<Api>,
    Query(form): Query<Form>,
) -> Result<Response, Failure> {
    let calls = list_calls(&api).await?;
    match form.format.as_str() {
        "gpx" => Ok(download(export::gpx(&calls), "application/gpx+xml")),
        "geojson" => Ok(download(export::geojson(&calls), "application/geo+json")),
        "csv" => Ok(download(export::csv(&calls), "text/csv; charset=utf-8")),
        other => Err(
            Failure::bad_request(format!("there is no export as {other}"))
                .advise("use gpx, geojson or csv"),
        ),
    }
}

fn download(text: String, media_type: &'static str) -> Response {
    let mut response = text.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment"),
    );
    response
}

/// Says how a person is: the user, or somebody else.
#[utoipa::path(post, path = "/v1/safe", request_body = ReportPerson, responses((status = 200, body = Posted)))]
pub(super) async fn report(
    State(api): State<Api>,
    Json(body): Json<ReportPerson>,
) -> Result<Json<Posted>, Failure> {
    let person = PersonRecord {
        condition: board::node_condition(body.condition),
        place: body.place.map(place).transpose()?,
        name: body.name.unwrap_or_else(|| api.name().text),
        about: body.about,
        reporter: String::new(),
        note: body.note,
    };
    api.post(BoardCommand::Report(person)).await
}

/// Whom to find.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Search {
    /// Words of the name, or of what tells the person apart; all people if it is empty.
    #[serde(default)]
    query: String,
}

/// What is known of people, joined from all who said something.
#[utoipa::path(get, path = "/v1/safe", params(Search), responses((status = 200, body = Vec<Person>)))]
pub(super) async fn people(
    State(api): State<Api>,
    Query(query): Query<Search>,
) -> Result<Json<Vec<Person>>, Failure> {
    find_people(&api, query.query).await.map(Json)
}

async fn find_people(api: &Api, query: String) -> Result<Vec<Person>, Failure> {
    let people = api.look(move |node| node.board().people(&query)).await?;
    let names = api.board_names().await?;
    Ok(people
        .iter()
        .map(|one| board::person(one, &names))
        .collect())
}

/// What is known of people, as CSV.
#[utoipa::path(get, path = "/v1/safe/export", params(Search), responses((status = 200, content_type = "text/csv")))]
pub(super) async fn export_people(
    State(api): State<Api>,
    Query(query): Query<Search>,
) -> Result<Response, Failure> {
    let people = find_people(&api, query.query).await?;
    Ok(download(
        export::people_csv(&people),
        "text/csv; charset=utf-8",
    ))
}

/// Bulletins of pinned keys that hold, the most urgent first.
#[utoipa::path(get, path = "/v1/bulletins", responses((status = 200, body = Vec<Bulletin>)))]
pub(super) async fn bulletins(State(api): State<Api>) -> Result<Json<Vec<Bulletin>>, Failure> {
    let bulletins = api.look(|node| node.board().bulletins()).await?;
    let names = api.board_names().await?;
    let shown = bulletins.iter().map(|one| board::bulletin(one, &names));
    Ok(Json(shown.collect()))
}

/// Publishes a bulletin under this phone's key; those who have pinned it see it.
#[utoipa::path(post, path = "/v1/bulletins", request_body = PublishBulletin, responses((status = 200, body = Posted)))]
pub(super) async fn publish(
    State(api): State<Api>,
    Json(body): Json<PublishBulletin>,
) -> Result<Json<Posted>, Failure> {
    let holds = Duration::from_secs(u64::from(body.hours).saturating_mul(3_600));
    let until: UnixTime = clock::now().unix + holds;
    api.post(BoardCommand::Publish(smartmesh_node::Bulletin {
        urgency: board::node_alert(body.urgency),
        until,
        title: body.title,
        text: body.text,
    }))
    .await
}

/// Keys whose bulletins are shown.
#[utoipa::path(get, path = "/v1/pins", responses((status = 200, body = Vec<Pin>)))]
pub(super) async fn pins(State(api): State<Api>) -> Result<Json<Vec<Pin>>, Failure> {
    let pins = api
        .look(|node| {
            let pins = node.board().pins();
            pins.map(|(address, name)| Pin {
                address: address.to_string(),
                name: name.to_owned(),
            })
            .collect()
        })
        .await?;
    Ok(Json(pins))
}

/// Shows an authority's bulletins from now on.
#[utoipa::path(post, path = "/v1/pins", request_body = PinKey, responses((status = 200)))]
pub(super) async fn pin(State(api): State<Api>, Json(body): Json<PinKey>) -> Result<(), Failure> {
    let address = api.person(&body.who).await?;
    let command = BoardCommand::Pin {
        address,
        name: body.name,
    };
    api.command(Command::Board(command)).await.map(drop)
}

/// Shows them no longer.
#[utoipa::path(delete, path = "/v1/pins/{address}", params(("address" = String, Path)), responses((status = 200)))]
pub(super) async fn unpin(State(api): State<Api>, Path(who): Path<String>) -> Result<(), Failure> {
    let address = api.person(&who).await?;
    let command = BoardCommand::Unpin { address };
    api.command(Command::Board(command)).await.map(drop)
}

impl Api {
    /// Says something to everybody near.
    pub(super) async fn post(&self, command: BoardCommand) -> Result<Json<Posted>, Failure> {
        let Answer::Posted(id) = self.command(Command::Board(command)).await? else {
            return Err(Failure::unexpected());
        };
        Ok(Json(Posted { id: id.to_string() }))
    }

    /// What the user calls people.
    pub(super) async fn board_names(&self) -> Result<board::Names, Failure> {
        Ok(board::Names {
            own: self.info.address,
            contacts: self.names().await?,
        })
    }
}
