//! Phones on loopback with access to a chain: real processes, joined by configured peers, and a gateway to the chain that can be
//! cut off, be slow to death, or answer rubbish.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::wait;

static TOWNS: AtomicU32 = AtomicU32::new(0);

/// How the gateway to the chain behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manners {
    /// Hands every request on.
    Good = 0,
    /// Closes every connection at once.
    Closed = 1,
    /// Takes requests and never answers.
    Stalls = 2,
    /// Answers what makes no sense.
    Rubbish = 3,
}

/// A gateway before a chain's JSON-RPC.
pub struct Gateway {
    address: SocketAddr,
    manners: Arc<AtomicU8>,
}

impl Gateway {
    /// Opens one before `target`, on any port.
    ///
    /// # Errors
    /// If no port can be had.
    pub fn open(target: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let manners = Arc::new(AtomicU8::new(0));
        let shared = Arc::clone(&manners);
        std::thread::spawn(move || {
            let stalled = Arc::new(Mutex::new(Vec::new()));
            for stream in listener.incoming().flatten() {
                match shared.load(Ordering::Relaxed) {
                    0 => {
                        std::thread::spawn(move || hand_on(stream, target));
                    }
                    1 => drop(stream),
                    2 => stalled
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(stream),
                    _ => {
                        std::thread::spawn(move || rubbish(stream));
                    }
                }
            }
        });
        Ok(Self { address, manners })
    }

    /// Changes its manners for connections to come.
    pub fn set(&self, manners: Manners) {
        self.manners.store(manners as u8, Ordering::Relaxed);
    }

    /// Where nodes reach it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Hands one request and its answer on, then closes, so that a change of manners counts at once.
fn hand_on(mut client: TcpStream, target: SocketAddr) {
    let Ok(request) = read_request(&mut client) else {
        return;
    };
    let Ok(mut server) = TcpStream::connect(target) else {
        return;
    };
    let text = String::from_utf8_lossy(&request).replacen("\r\n", "\r\nConnection: close\r\n", 1);
    let _ = server.write_all(text.as_bytes());
    let mut answer = Vec::new();
    let _ = server.read_to_end(&mut answer);
    let _ = client.write_all(&answer);
}

fn rubbish(mut client: TcpStream) {
    let _ = read_request(&mut client);
    let body = r#"{"jsonrpc":"2.0","id":1,"result":{"number":"0x-1","hash":[],"🐟":null}}"#;
    let _ = write!(
        client,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
}

fn read_request(client: &mut TcpStream) -> Result<Vec<u8>> {
    let mut request = Vec::new();
    let mut part = [0; 16_384];
    loop {
        let count = client.read(&mut part)?;
        ensure!(count > 0, "closed");
        request.extend(part.iter().take(count));
        let text = String::from_utf8_lossy(&request).to_lowercase();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        if body.len() >= length {
            return Ok(request);
        }
    }
}

/// Phones and their chain; everything ends when it is dropped.
pub struct Town {
    root: PathBuf,
    program: PathBuf,
    radios: Vec<SocketAddr>,
    phones: Vec<Option<Child>>,
    /// Who hears whom.
    lines: Vec<(usize, usize)>,
    chain: Child,
    /// Where the chain's JSON-RPC is.
    pub chain_address: SocketAddr,
    contracts: PathBuf,
}

impl Town {
    /// Phones in a line, none of them started, and a development chain as a process of its own.
    ///
    /// # Errors
    /// If the program under test was not built or the chain does not start.
    pub fn line(phones: usize) -> Result<Self> {
        let number = TOWNS.fetch_add(1, Ordering::Relaxed);
        let root =
            std::env::temp_dir().join(format!("smartmesh-town-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&root)?;
        let program = std::env::var_os("SMARTMESH_PROGRAM")
            .map(PathBuf::from)
            .context(
                "SMARTMESH_PROGRAM says which program to test; `cargo xtask network` sets it",
            )?;
        let sockets: Vec<UdpSocket> = (0..phones)
            .map(|_| UdpSocket::bind("127.0.0.1:0"))
            .collect::<std::io::Result<_>>()?;
        let radios = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<std::io::Result<_>>()?;
        drop(sockets);
        let mut chain = Command::new(&program)
            .args(["--json", "chain", "devnet", "--port", "0"])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = chain.stdout.take().context("its output was asked for")?;
        let mut told = Vec::new();
        let mut byte = [0];
        while out.read(&mut byte)? > 0 && byte != *b"\n" {
            told.extend(byte);
        }
        let mut told: Value = serde_json::from_slice(&told).context("what the chain tells")?;
        let url = told
            .as_object_mut()
            .and_then(|told| told.remove("url"))
            .and_then(|url| Some(url.as_str()?.trim_start_matches("http://").to_owned()))
            .context("the chain tells no URL")?;
        let contracts = root.join("contracts.json");
        std::fs::write(&contracts, told.to_string())?;
        Ok(Self {
            root,
            program,
            radios,
            phones: (0..phones).map(|_| None).collect(),
            lines: (1..phones).map(|b| (b.saturating_sub(1), b)).collect(),
            chain,
            chain_address: url.parse()?,
            contracts,
        })
    }

    fn data(&self, phone: usize) -> PathBuf {
        self.root.join(format!("phone-{phone}"))
    }

    /// Starts a phone, with access to the chain by this URL or without; waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(&mut self, phone: usize, chain: Option<&str>) -> Result<()> {
        let radio = self.radios.get(phone).context("no such phone")?;
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.root.join(format!("phone-{phone}.log")))?;
        let mut command = Command::new(&self.program);
        command
            .args(["up", "--link", "peers", "--api", "127.0.0.1:0"])
            .args(["--confirmations", "2", "--name", &format!("phone {phone}")])
            .arg("--data")
            .arg(self.data(phone))
            .arg("--contracts")
            .arg(&self.contracts)
            .args(["--listen", &radio.to_string()]);
        if let Some(url) = chain {
            command.args(["--chain", url]);
        }
        for (a, b) in &self.lines {
            let other = if *a == phone {
                *b
            } else if *b == phone {
                *a
            } else {
                continue;
            };
            let other = self.radios.get(other).context("no such phone")?;
            command.args(["--peer", &other.to_string()]);
        }
        let _ = std::fs::remove_file(self.data(phone).join("api.json"));
        let child = command.stdout(Stdio::null()).stderr(log).spawn()?;
        *self.phones.get_mut(phone).context("no such phone")? = Some(child);
        wait::until("a phone to start", || self.ask(phone, &["id"]).ok());
        Ok(())
    }

    /// Ends a phone as an empty battery does.
    ///
    /// # Errors
    /// If it was not running.
    pub fn kill(&mut self, phone: usize) -> Result<()> {
        let child = self.phones.get_mut(phone).and_then(Option::take);
        let mut child = child.context("the phone is not running")?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Runs a command of the command line on a phone and returns its JSON.
    ///
    /// # Errors
    /// If it fails; its words are in the error.
    pub fn ask(&self, phone: usize, arguments: &[&str]) -> Result<Value> {
        let output = Command::new(&self.program)
            .args(["--json", "--data"])
            .arg(self.data(phone))
            .args(arguments)
            .stdin(Stdio::null())
            .output()?;
        ensure!(
            output.status.success(),
            "{arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Two phones add each other.
    ///
    /// # Errors
    /// If one is not running.
    pub fn befriend(&self, a: usize, b: usize) -> Result<()> {
        for (one, other) in [(a, b), (b, a)] {
            let invite = self.ask(other, &["id"])?;
            let invite = invite
                .get("invite")
                .and_then(Value::as_str)
                .context("no invite")?;
            self.ask(one, &["add", invite, "--name", &format!("phone-{other}")])?;
        }
        Ok(())
    }

    /// Asks the chain.
    ///
    /// # Errors
    /// If it refuses.
    pub fn chain(&self, method: &str, params: &Value) -> Result<Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut response =
            ureq::post(format!("http://{}", self.chain_address)).send_json(&request)?;
        let mut answer: Value = response.body_mut().read_json()?;
        ensure!(answer.get("error").is_none(), "{method}: {answer}");
        Ok(answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default())
    }

    /// Gives a phone's account one ether and so many base units of SMT.
    ///
    /// # Errors
    /// If the phone is not running.
    pub fn fund(&self, phone: usize, smt: &str) -> Result<()> {
        let wallet = self.ask(phone, &["wallet"])?;
        let ether = "1000000000000000000";
        let params = json!([wallet.get("account"), ether, smt]);
        self.chain("smartmesh_fund", &params).map(drop)
    }

    /// Mines so many blocks.
    ///
    /// # Errors
    /// If the chain is gone.
    pub fn mine(&self, blocks: u64) -> Result<()> {
        self.chain("anvil_mine", &json!([blocks])).map(drop)
    }

    /// The end of a phone's log.
    pub fn log(&self, phone: usize) -> String {
        let path = self.root.join(format!("phone-{phone}.log"));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(40)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Town {
    fn drop(&mut self) {
        for child in self.phones.iter_mut().flatten().chain([&mut self.chain]) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "logs are in {}", self.root.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}
