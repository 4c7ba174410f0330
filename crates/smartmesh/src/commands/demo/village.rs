//! The people of the demo and their nodes.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::Duration;
use std::{env, fs, io, thread};

use anyhow::{Context, bail};
use serde_json::json;
use smartmesh_api::{AddContact, Added, Identity, Invite};
use smartmesh_daemon::StopSignal;

use super::air::{Air, Spot};
use super::stage::{Stage, Wish};
use crate::client::Client;

/// Checks whether a node is up, and how often, before the demo gives up.
const START_CHECKS: u32 = 1_500;
const START_CHECK_EVERY: Duration = Duration::from_millis(10);

/// Somebody in the village.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Person {
    Ann,
    Ben,
    Cleo,
    Dan,
    Eve,
    Fay,
    Gus,
}

impl Person {
    pub(super) const ALL: [Self; 7] = [
        Self::Ann,
        Self::Ben,
        Self::Cleo,
        Self::Dan,
        Self::Eve,
        Self::Fay,
        Self::Gus,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ann => "Ann",
            Self::Ben => "Ben",
            Self::Cleo => "Cleo",
            Self::Dan => "Dan",
            Self::Eve => "Eve",
            Self::Fay => "Fay",
            Self::Gus => "Gus",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|person| person.name() == name)
    }

    /// Where the story begins.
    pub(super) fn home(self) -> Spot {
        let (x, y) = match self {
            Self::Ann => (90, 170),
            Self::Ben => (250, 110),
            Self::Cleo => (410, 170),
            Self::Dan => (570, 170),
            Self::Eve => (170, 310),
            Self::Fay => (330, 310),
            Self::Gus => (730, 170),
        };
        Spot { x, y }
    }

    /// Their phone's own loopback host, so that each app is an origin of its own; one for all where the system has one only.
    pub(super) fn host(self) -> Ipv4Addr {
        let own = match self {
            Self::Ann => 2,
            Self::Ben => 3,
            Self::Cleo => 4,
            Self::Dan => 5,
            Self::Eve => 6,
            Self::Fay => 7,
            Self::Gus => 8,
        };
        let host = Ipv4Addr::new(127, 0, 0, own);
        match TcpListener::bind((host, 0)) {
            Ok(_) => host,
            Err(_) => Ipv4Addr::LOCALHOST,
        }
    }
}

/// All nodes and their folders; ends with all of them.
pub(super) struct Village {
    root: PathBuf,
    program: PathBuf,
    radios: BTreeMap<Person, SocketAddr>,
    /// Where each finds each other one in the air.
    doors: BTreeMap<(Person, Person), SocketAddr>,
    /// Where each API is, so that it is there again after a restart.
    apis: BTreeMap<Person, SocketAddr>,
    nodes: BTreeMap<Person, Child>,
    stage: Stage,
    wishes: Receiver<Wish>,
    stop: StopSignal,
    kept: bool,
}

impl Village {
    /// Makes the folders and chooses the ports.
    pub(super) fn build(stop: StopSignal) -> anyhow::Result<Self> {
        let root = env::temp_dir().join(format!("smartmesh-demo-{}", std::process::id()));
        fs::create_dir_all(&root).with_context(|| format!("can't make {}", root.display()))?;
        // All are held until all are chosen, so that no two are the same.
        let mut sockets = Vec::new();
        for person in Person::ALL {
            sockets.push((person, UdpSocket::bind("127.0.0.1:0")?));
        }
        let addresses = sockets
            .iter()
            .map(|(person, socket)| Ok((*person, socket.local_addr()?)));
        let radios: BTreeMap<_, _> = addresses.collect::<io::Result<_>>()?;
        // Free now, for the nodes to take.
        drop(sockets);
        let air = Air::default();
        for person in Person::ALL {
            air.place(person, person.home());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let doors = runtime.block_on(air.open(&radios))?;
        let folders = Person::ALL.map(|person| (person, folder_of(&root, person)));
        let (stage, wishes) = runtime.block_on(Stage::serve(air, folders.into()))?;
        thread::Builder::new()
            .name("village".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))?;
        let program = env::current_exe().context("can't find this program's own file")?;
        Ok(Self {
            root,
            program,
            radios,
            doors,
            apis: BTreeMap::new(),
            stage,
            wishes,
            nodes: BTreeMap::new(),
            stop,
            kept: false,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn folder(&self, person: Person) -> PathBuf {
        folder_of(&self.root, person)
    }

    pub(super) fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Carries out what the visitor wished on the page since the last call.
    pub(super) fn fulfil_wishes(&mut self) -> anyhow::Result<()> {
        while let Ok(wish) = self.wishes.try_recv() {
            match wish {
                Wish::Power { person, on: true } if !self.nodes.contains_key(&person) => {
                    self.start(person)?;
                }
                Wish::Power { person, on: false } => self.kill(person),
                Wish::Power { .. } => {}
            }
        }
        Ok(())
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop.has_come()
    }

    /// Keeps the folders after the end, for a look at what went wrong.
    pub(super) fn keep(&mut self) -> PathBuf {
        self.kept = true;
        self.root.clone()
    }

    fn radio(&self, person: Person) -> anyhow::Result<SocketAddr> {
        self.radios
            .get(&person)
            .copied()
            .context("everybody has a radio")
    }

    /// Starts a node and waits until it answers.
    pub(super) fn start(&mut self, person: Person) -> anyhow::Result<()> {
        let folder = self.folder(person);
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.root.join(format!("{}.log", person.name())))?;
        let mut command = Command::new(&self.program);
        command.args([
            "up",
            "--link",
            "peers",
            "--no-open",
            "--name",
            person.name(),
        ]);
        let api = self.apis.get(&person).copied();
        let api = api.unwrap_or_else(|| (person.host(), 0).into());
        command.arg("--api").arg(api.to_string());
        command.arg("--framed-by").arg(self.stage.origin());
        command.arg("--data").arg(&folder);
        command.arg("--listen").arg(self.radio(person)?.to_string());
        for ((own, _), door) in &self.doors {
            if *own == person {
                command.arg("--peer").arg(door.to_string());
            }
        }
        // A node that was killed could not take its old address away.
        let _ = fs::remove_file(folder.join("api.json"));
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        self.nodes.insert(person, child);
        for _ in 0..START_CHECKS {
            if let Ok(client) = self.client(person)
                && client.get::<Identity>("/v1/id").is_ok()
            {
                if let Ok(api) = client.url().trim_start_matches("http://").parse() {
                    self.apis.insert(person, api);
                }
                self.stage.set_running(person, true);
                return Ok(());
            }
            if self.is_stopping() {
                bail!("stopped");
            }
            thread::sleep(START_CHECK_EVERY);
        }
        bail!("{}'s node does not start", person.name())
    }

    /// Ends a node without a chance to say goodbye, as an empty battery does.
    pub(super) fn kill(&mut self, person: Person) {
        if let Some(mut child) = self.nodes.remove(&person) {
            let _ = child.kill();
            let _ = child.wait();
            self.stage.set_running(person, false);
        }
    }

    pub(super) fn client(&self, person: Person) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.folder(person))?)
    }

    pub(super) fn address(&self, person: Person) -> anyhow::Result<String> {
        let identity: Identity = self.client(person)?.get("/v1/id")?;
        Ok(identity.address)
    }

    /// Friends add each other's invites, as they would by scanning a code.
    pub(super) fn introduce(&self) -> anyhow::Result<()> {
        for other in Person::ALL {
            for one in Person::ALL.into_iter().filter(|one| *one != other) {
                let invite: Invite = self.client(other)?.post("/v1/invite", &json!({}))?;
                let body = AddContact {
                    who: invite.invite,
                    name: Some(other.name().to_owned()),
                };
                let _: Added = self.client(one)?.post("/v1/contacts", &body)?;
            }
        }
        Ok(())
    }
}

fn folder_of(root: &Path, person: Person) -> PathBuf {
    root.join(person.name().to_lowercase())
}

impl Drop for Village {
    fn drop(&mut self) {
        for child in self.nodes.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if !self.kept {
            let _ = fs::remove_dir_all(&self.root);
        }
    }
}
