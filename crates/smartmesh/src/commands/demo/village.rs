//! The people of the demo and their nodes.

use std::collections::BTreeMap;
use std::fs::File;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{env, fs, io, thread};

use anyhow::{Context, bail};
use serde_json::json;
use smartmesh_api::{AddContact, Added, Identity, Invite};
use smartmesh_daemon::StopSignal;

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
}

/// Who hears whom.
const LINES: [(Person, Person); 7] = [
    (Person::Ann, Person::Ben),
    (Person::Ben, Person::Cleo),
    (Person::Cleo, Person::Dan),
    (Person::Dan, Person::Gus),
    (Person::Ann, Person::Eve),
    (Person::Eve, Person::Fay),
    (Person::Fay, Person::Cleo),
];

/// Who knows whom.
const FRIENDS: [(Person, Person); 2] = [(Person::Ann, Person::Dan), (Person::Ann, Person::Gus)];

/// All nodes and their folders; ends with all of them.
pub(super) struct Village {
    root: PathBuf,
    program: PathBuf,
    radios: BTreeMap<Person, SocketAddr>,
    nodes: BTreeMap<Person, Child>,
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
        let radios = addresses.collect::<io::Result<_>>()?;
        let program = env::current_exe().context("can't find this program's own file")?;
        Ok(Self {
            root,
            program,
            radios,
            nodes: BTreeMap::new(),
            stop,
            kept: false,
        })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn folder(&self, person: Person) -> PathBuf {
        self.root.join(person.name().to_lowercase())
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
            "--api",
            "127.0.0.1:0",
            "--name",
            person.name(),
        ]);
        command.arg("--data").arg(&folder);
        command.arg("--listen").arg(self.radio(person)?.to_string());
        for (a, b) in LINES {
            let other = if a == person { b } else { a };
            if a == person || b == person {
                command.arg("--peer").arg(self.radio(other)?.to_string());
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
        for (a, b) in FRIENDS {
            for (one, other) in [(a, b), (b, a)] {
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
