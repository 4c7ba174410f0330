//! The local API: HTTP and WebSocket on loopback, for this user alone.
//!
//! The guards, from the outside in: only loopback is bound; the `Host` must name a loopback address with the right port
//! (against DNS rebinding); an `Origin`, if any, must be the API's own (against other pages of the browser); all but the
//! description and the front page wants the token of `api.json` in a header, never in a cookie (cookies don't tell ports
//! apart); answers carry a policy that lets a browser run nothing from elsewhere.

mod channels;
mod door;
mod events;
mod export;
mod failure;
mod files;
mod guard;
mod messages;
mod money;
mod page;
mod payment_request;
mod people;
mod room;
mod rpc;
mod safety;
mod tools;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{delete, get, post};
use smartmesh_api::{Event, Message};
use smartmesh_node::{Command, ContactStatus, Node};
use smartmesh_types::{Address, NodeKey};
use tokio::net::TcpListener;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::ask::{Answer, Ask, Look};
use crate::chain::Light;
use crate::disk::Disk;
use crate::keystore::Protection;
use crate::money::{MoneyInfo, MoneyState};
use crate::shell::Mark;
pub use door::secret;
pub(crate) use door::{BROWSERS, Door, address as app_address};
use failure::Failure;

/// JSON bodies; a text of 16 KiB may need twice that once it is escaped.
const JSON_BYTES_MAX: usize = 64 << 10;

/// What hardly changes while the node runs.
#[derive(Clone, Debug)]
pub(crate) struct Info {
    pub(crate) address: Address,
    pub(crate) key: NodeKey,
    pub(crate) framed_by: Option<String>,
    pub(crate) data: PathBuf,
    pub(crate) protection: Protection,
    pub(crate) clock_warning: Option<String>,
}

/// What the user is called.
#[derive(Clone, Debug)]
pub(crate) struct Name {
    pub(crate) text: String,
    /// Whether the user chose it; else it was made from the address.
    pub(crate) chosen: bool,
}

/// What every handler has at hand.
#[derive(Clone)]
pub(crate) struct Api {
    info: Arc<Info>,
    name: Arc<Mutex<Name>>,
    door: Arc<Door>,
    address: SocketAddr,
    asks: mpsc::Sender<Ask>,
    disk: Disk<Mark>,
    events: broadcast::Sender<Event>,
    money: Arc<MoneyInfo>,
    money_state: watch::Receiver<MoneyState>,
    light: Option<Light>,
}

/// The rest of the node, as the API reaches it.
pub(crate) struct Lines {
    pub(crate) asks: mpsc::Sender<Ask>,
    pub(crate) disk: Disk<Mark>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) money: Arc<MoneyInfo>,
    pub(crate) money_state: watch::Receiver<MoneyState>,
    pub(crate) light: Option<Light>,
}

/// All paths behind all guards.
pub(crate) fn router(
    info: Info,
    name: Name,
    door: Arc<Door>,
    address: SocketAddr,
    lines: Lines,
) -> Router {
    let Lines {
        asks,
        disk,
        events,
        money,
        money_state,
        light,
    } = lines;
    let api = Api {
        info: Arc::new(info),
        name: Arc::new(Mutex::new(name)),
        door,
        address,
        asks,
        disk,
        events,
        money,
        money_state,
        light,
    };
    let guarded = Router::new()
        .route("/v1/status", get(tools::status))
        .route("/v1/doctor", get(tools::doctor))
        .route("/v1/ping", post(tools::ping))
        .route("/v1/trace", post(tools::trace))
        .route("/v1/perf", post(tools::perf))
        .route("/v1/visibility", post(tools::visibility))
        .route("/v1/shutdown", post(tools::shutdown))
        .route("/v1/browsers", delete(door::sign_out))
        .route("/v1/browsers/key", post(door::key))
        .route("/v1/id", get(people::id).post(people::set_name))
        .route("/v1/invite", post(people::invite))
        .route("/v1/nearby", get(people::nearby))
        .route("/v1/contacts", get(people::contacts).post(people::add))
        .route("/v1/contacts/{address}", delete(people::forget))
        .route("/v1/contacts/{address}/name", post(people::rename))
        .route("/v1/contacts/{address}/block", post(people::block))
        .route("/v1/contacts/{address}/phrase", get(people::phrase))
        .route("/v1/contacts/{address}/verified", post(people::verify))
        .route("/v1/messages", get(messages::list).post(messages::send))
        .route(
            "/v1/messages/{id}",
            get(messages::show).delete(messages::delete),
        )
        .route("/v1/messages/{id}/react", post(messages::react))
        .route("/v1/messages/{id}/edit", post(messages::edit))
        .route("/v1/search", get(messages::search))
        .route("/v1/conversations", get(messages::conversations))
        .route("/v1/conversations/{peer}", delete(messages::clear))
        .route("/v1/conversations/{peer}/read", post(messages::read_all))
        .route("/v1/messages/{id}/read", post(messages::read))
        .route("/v1/messages/{id}/cancel", post(messages::cancel))
        .route("/v1/files", get(files::list).post(files::share))
        .route(
            "/v1/files/{message}/fetch",
            post(files::fetch).delete(files::cancel),
        )
        .route("/v1/files/{message}/content", get(files::content))
        .route("/v1/wallet", get(money::wallet))
        .route("/v1/wallet/history", get(money::history))
        .route("/v1/wallet/backup", post(money::backup))
        .route("/v1/wallet/restore", post(money::restore))
        .route("/v1/wallet/authorise", post(money::authorise))
        .route("/v1/agent/submit", post(money::submit))
        .route("/v1/request", post(money::request))
        .route("/v1/pay", post(money::pay))
        .route(
            "/v1/sos",
            get(safety::calls)
                .post(safety::call)
                .delete(safety::call_off),
        )
        .route("/v1/sos/export", get(safety::export_calls))
        .route("/v1/sos/{caller}/claim", post(safety::claim))
        .route("/v1/safe", get(safety::people).post(safety::report))
        .route("/v1/safe/export", get(safety::export_people))
        .route(
            "/v1/bulletins",
            get(safety::bulletins).post(safety::publish),
        )
        .route("/v1/pins", get(safety::pins).post(safety::pin))
        .route("/v1/pins/{address}", delete(safety::unpin))
        .route("/v1/room", get(room::list).post(room::say))
        .route("/v1/mutes", get(room::mutes).post(room::mute))
        .route("/v1/mutes/list", get(room::mute_list).post(room::adopt))
        .route("/v1/mutes/{address}", delete(room::unmute))
        .route("/v1/channels", get(channels::list).post(channels::open))
        .route("/v1/channels/{id}/deposit", post(channels::deposit))
        .route("/v1/channels/{id}/withdraw", post(channels::withdraw))
        .route("/v1/channels/{id}/close", post(channels::close))
        .route("/v1/channels/{id}/settle", post(channels::settle))
        .route("/v1/light", get(rpc::status))
        .route("/v1/events", get(events::stream))
        .route_layer(axum::middleware::from_fn_with_state(
            api.clone(),
            guard::require_token,
        ));
    let open = Router::new()
        .route(
            "/rpc",
            post(rpc::answer).layer(DefaultBodyLimit::max(rpc::REQUEST_BYTES_MAX)),
        )
        .route("/enter", post(door::enter))
        .route("/openapi.json", get(page::description));
    guarded
        .merge(open)
        .fallback(page::file)
        .layer(DefaultBodyLimit::max(JSON_BYTES_MAX))
        .layer(axum::middleware::from_fn_with_state(
            api.clone(),
            guard::check_origin,
        ))
        .with_state(api)
}

pub(crate) use messages::remove_vanished;

/// Serves until the task is stopped.
pub(crate) async fn serve(listener: TcpListener, app: Router) {
    if let Err(error) = axum::serve(listener, app).await {
        tracing::error!(%error, "the API has stopped");
    }
}

impl Api {
    fn name(&self) -> Name {
        let name = self.name.lock();
        name.unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Failure> {
        let (answer, wait) = oneshot::channel();
        self.asks
            .send(make(answer))
            .await
            .map_err(|_| Failure::stopping())?;
        wait.await.map_err(|_| Failure::stopping())
    }

    /// Looks at the node.
    async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Node) -> T + Send + 'static,
    ) -> Result<T, Failure> {
        self.ask(|answer| Ask::Look(Look(Box::new(move |node| drop(answer.send(look(node)))))))
            .await
    }

    /// Has the node carry out a command; a refusal is a failure in words.
    async fn command(&self, command: Command) -> Result<Answer, Failure> {
        let ask = |answer| Ask::Command(Box::new(command), answer);
        let answer = self.ask(ask).await?;
        if let Answer::Refused(reason) = &answer {
            return Err(Failure::refused(reason));
        }
        Ok(answer)
    }

    async fn contact_list(&self) -> Result<Vec<ContactStatus>, Failure> {
        self.ask(Ask::Contacts).await
    }

    /// Whom a client means: an address, an invite (which it adds), or the name of a contact.
    async fn person(&self, who: &str) -> Result<Address, Failure> {
        let who = who.trim();
        if let Ok(address) = who.parse() {
            return Ok(address);
        }
        // In capitals a QR code is smaller, so invites come in both cases.
        if who
            .get(..10)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("smartmesh:"))
        {
            return self.add_contact(who, None).await;
        }
        let wanted = who.to_lowercase();
        let contacts = self.contact_list().await?;
        let mut named = contacts.iter().filter(|contact| {
            contact
                .name
                .as_ref()
                .is_some_and(|name| name.to_lowercase() == wanted)
        });
        match (named.next(), named.next()) {
            (Some(one), None) => Ok(one.address),
            (Some(_), Some(_)) => Err(Failure::bad_request(format!("more than one contact is called {who}"))
                .advise("use the address; `smartmesh contacts` lists them")),
            (None, _) => Err(Failure::not_found_thing(format!("nobody is called {who}"))
                .advise("use an address, an invite, or the name of a contact; `smartmesh contacts` lists them")),
        }
    }

    /// Whom a client means, made a contact if they are none yet: messages go to contacts alone.
    async fn correspondent(&self, who: &str) -> Result<Address, Failure> {
        let address = self.person(who).await?;
        let known = self
            .contact_list()
            .await?
            .iter()
            .any(|contact| contact.address == address);
        if known || address == self.info.address {
            return Ok(address);
        }
        self.add_contact(&address.to_string(), None).await
    }

    async fn add_contact(&self, text: &str, name: Option<String>) -> Result<Address, Failure> {
        let text = text.to_owned();
        let Answer::Added(address) = self.command(Command::AddContact { text, name }).await? else {
            return Err(Failure::unexpected());
        };
        Ok(address)
    }

    /// Whose conversation a client means, as the history names it.
    async fn conversation(&self, who: &str) -> Result<String, Failure> {
        Ok(self.person(who).await?.to_string())
    }

    /// Messages with what the user calls people.
    async fn named(&self, mut messages: Vec<Message>) -> Result<Vec<Message>, Failure> {
        let names = self.names().await?;
        for message in &mut messages {
            message.peer_name = names.get(&message.peer).cloned();
        }
        Ok(messages)
    }

    /// The names of contacts by address, to put beside their messages.
    async fn names(&self) -> Result<std::collections::BTreeMap<String, String>, Failure> {
        let contacts = self.contact_list().await?;
        Ok(contacts
            .into_iter()
            .filter_map(|contact| Some((contact.address.to_string(), contact.name?)))
            .collect())
    }
}

#[cfg(test)]
mod tests;
