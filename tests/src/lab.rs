//! A laboratory: hosts in network namespaces, cables between them, and a daemon on each host.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;

use crate::wait;

static LABS: AtomicU32 = AtomicU32::new(0);

/// Why a test that needs namespaces was skipped, said so that nobody takes it for a pass.
pub fn can_make_namespaces() -> bool {
    let name = format!("smprobe{}", std::process::id());
    let made = ip(&["netns", "add", &name]).is_ok();
    if made {
        let _ = ip(&["netns", "del", &name]);
    }
    made
}

/// Hosts and what runs on them; everything ends and is removed when it is dropped.
pub struct Lab {
    prefix: String,
    folder: PathBuf,
    program: PathBuf,
    hosts: Vec<Host>,
    cables: Vec<(usize, usize)>,
}

struct Host {
    namespace: String,
    daemon: Option<Child>,
    address: Option<String>,
}

/// How a cable is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Frames vanish; nobody is told.
    Silent,
    /// The carrier goes.
    Visible,
}

impl Lab {
    /// Hosts without cables.
    ///
    /// # Errors
    /// If namespaces or folders cannot be made, or the program under test was not built.
    pub fn new(hosts: usize) -> Result<Self> {
        let program =
            std::env::var_os("SMARTMESH_PROGRAM").context("run this through `cargo xtask`")?;
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("sm{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(&prefix);
        std::fs::create_dir_all(&folder)?;
        let mut lab = Self {
            prefix,
            folder,
            program: program.into(),
            hosts: Vec::new(),
            cables: Vec::new(),
        };
        for number in 0..hosts {
            let namespace = format!("{}-{number}", lab.prefix);
            ip(&["netns", "add", &namespace])?;
            lab.hosts.push(Host {
                namespace: namespace.clone(),
                daemon: None,
                address: None,
            });
            ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        }
        Ok(lab)
    }

    /// A line of hosts.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn line(hosts: usize) -> Result<Self> {
        let mut lab = Self::new(hosts)?;
        (1..hosts).try_for_each(|host| lab.cable(host.saturating_sub(1), host))?;
        Ok(lab)
    }

    /// A ring of hosts.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn ring(hosts: usize) -> Result<Self> {
        let mut lab = Self::line(hosts)?;
        lab.cable(0, hosts.saturating_sub(1))?;
        Ok(lab)
    }

    /// A square grid of hosts.
    ///
    /// # Errors
    /// As [`Lab::new`].
    pub fn grid(side: usize) -> Result<Self> {
        let mut lab = Self::new(side.saturating_mul(side))?;
        for row in 0..side {
            for column in 0..side {
                let host = row.saturating_mul(side).saturating_add(column);
                if column.saturating_add(1) < side {
                    lab.cable(host, host.saturating_add(1))?;
                }
                if row.saturating_add(1) < side {
                    lab.cable(host, host.saturating_add(side))?;
                }
            }
        }
        Ok(lab)
    }

    /// Number of hosts.
    pub fn len(&self) -> usize {
        self.hosts.len()
    }

    /// Whether there is no host.
    pub fn is_empty(&self) -> bool {
        self.hosts.is_empty()
    }

    /// The cables, as they were laid.
    pub fn cables(&self) -> &[(usize, usize)] {
        &self.cables
    }

    /// Lays a cable between two hosts; its ends are named after the host at the other end.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn cable(&mut self, a: usize, b: usize) -> Result<()> {
        let (near, far) = (format!("to{b}"), format!("to{a}"));
        let (host_a, host_b) = (
            self.host(a)?.namespace.clone(),
            self.host(b)?.namespace.clone(),
        );
        // Ends with the same number would be taken for no virtual cable, and the kernel tells of a lost carrier on those at
        // most once a second (linkwatch_urgent_event in net/core/link_watch.c): whether it does would be left to chance.
        let number = self.cables.len().saturating_mul(2).saturating_add(100);
        let (index, other) = (number.to_string(), number.saturating_add(1).to_string());
        ip(&[
            "link", "add", &near, "index", &index, "netns", &host_a, "type", "veth", "peer",
            "name", &far, "index", &other, "netns", &host_b,
        ])?;
        for (host, end) in [(&host_a, &near), (&host_b, &far)] {
            // Duplicate address detection would keep a fresh link-local address unusable for a second.
            let setting = format!("echo 0 > /proc/sys/net/ipv6/conf/{end}/accept_dad");
            succeed(&mut in_namespace(host, &["sh", "-c", &setting]))?;
            ip(&["-n", host, "link", "set", end, "up"])?;
        }
        self.cables.push((a, b));
        Ok(())
    }

    /// Cuts a cable.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn cut(&self, a: usize, b: usize, how: Cut) -> Result<()> {
        match how {
            Cut::Silent => {
                for (host, other) in [(a, b), (b, a)] {
                    let end = format!("to{other}");
                    let arguments = [
                        "-n",
                        &self.host(host)?.namespace,
                        "qdisc",
                        "replace",
                        "dev",
                        &end,
                        "root",
                        "blackhole",
                    ];
                    succeed(Command::new("tc").args(arguments))?;
                }
            }
            Cut::Visible => ip(&[
                "-n",
                &self.host(a)?.namespace,
                "link",
                "set",
                &format!("to{b}"),
                "down",
            ])?,
        }
        Ok(())
    }

    /// Mends a cable.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn mend(&self, a: usize, b: usize, how: Cut) -> Result<()> {
        match how {
            Cut::Silent => {
                for (host, other) in [(a, b), (b, a)] {
                    let end = format!("to{other}");
                    let arguments = [
                        "-n",
                        &self.host(host)?.namespace,
                        "qdisc",
                        "del",
                        "dev",
                        &end,
                        "root",
                    ];
                    succeed(Command::new("tc").args(arguments))?;
                }
            }
            Cut::Visible => ip(&[
                "-n",
                &self.host(a)?.namespace,
                "link",
                "set",
                &format!("to{b}"),
                "up",
            ])?,
        }
        Ok(())
    }

    /// Starts a host's daemon on its own folder, and waits until it answers.
    ///
    /// # Errors
    /// If it does not start.
    pub fn start(&mut self, host: usize) -> Result<()> {
        self.spawn(host, &[])?;
        self.ready(host)
    }

    /// Starts all hosts' daemons, with TUN interfaces, and waits until each answers.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start_all(&mut self) -> Result<()> {
        (0..self.len()).try_for_each(|host| self.spawn(host, &[]))?;
        (0..self.len()).try_for_each(|host| self.ready(host))
    }

    /// Starts a host's daemon without waiting.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn spawn(&mut self, host: usize, extra: &[&str]) -> Result<()> {
        let data = self.data(host);
        let log = std::fs::File::create(self.folder.join(format!("{host}.log")))?;
        let namespace = self.host(host)?.namespace.clone();
        let mut command = in_namespace(&namespace, &[]);
        command
            .arg(&self.program)
            .args(["up", "--api", "127.0.0.1:4780", "--tun", "mesh0", "--data"])
            .arg(data);
        command
            .args(["--name", &format!("host{host}")])
            .args(extra)
            .env("RUST_LOG", "info");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = command.spawn().context("the daemon cannot be started")?;
        self.host_mut(host)?.daemon = Some(child);
        Ok(())
    }

    /// Waits until a host's daemon answers, and remembers its address.
    ///
    /// # Errors
    /// If it ended instead.
    pub fn ready(&mut self, host: usize) -> Result<()> {
        let answer = wait::within(wait::PATIENCE, || {
            let ended = self
                .host_mut(host)
                .ok()?
                .daemon
                .as_mut()?
                .try_wait()
                .ok()?
                .is_some();
            if ended {
                Some(None)
            } else {
                self.ask(host, &["id"]).ok().map(Some)
            }
        });
        let Some(Some(id)) = answer else {
            bail!("host {host} did not come up:\n{}", self.log(host))
        };
        let address = id
            .get("address")
            .and_then(Value::as_str)
            .context("`id` shows no address")?;
        self.host_mut(host)?.address = Some(address.to_owned());
        Ok(())
    }

    /// A host's mesh address.
    ///
    /// # Errors
    /// If its daemon has never been ready.
    pub fn address(&self, host: usize) -> Result<&str> {
        self.host(host)?
            .address
            .as_deref()
            .context("the host was never started")
    }

    /// Runs a command of the program on a host and returns what it printed as JSON.
    ///
    /// # Errors
    /// If the command fails or prints no JSON.
    pub fn ask(&self, host: usize, arguments: &[&str]) -> Result<Value> {
        let output = self.client(host, arguments)?.output()?;
        if !output.status.success() {
            bail!(
                "{arguments:?} on host {host}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("{arguments:?} printed no JSON"))
    }

    /// A command of the program on a host, to be started by the caller.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn client(&self, host: usize, arguments: &[&str]) -> Result<Command> {
        let mut command = in_namespace(&self.host(host)?.namespace, &[]);
        command
            .arg(&self.program)
            .arg("--json")
            .args(arguments)
            .arg("--data")
            .arg(self.data(host));
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Any other program on a host.
    ///
    /// # Errors
    /// If there is no such host.
    pub fn command(&self, host: usize, program: &str) -> Result<Command> {
        Ok(in_namespace(&self.host(host)?.namespace, &[program]))
    }

    /// Introduces two hosts' people to each other by invites.
    ///
    /// # Errors
    /// If a command fails.
    pub fn befriend(&self, a: usize, b: usize) -> Result<()> {
        for (from, to) in [(a, b), (b, a)] {
            let id = self.ask(from, &["id"])?;
            let invite = id
                .get("invite")
                .and_then(Value::as_str)
                .context("`id` shows no invite")?;
            self.ask(to, &["add", invite, "--name", &format!("host{from}")])?;
        }
        Ok(())
    }

    /// Kills a host's daemon at once, as a flat battery would.
    ///
    /// # Errors
    /// If it was not running.
    pub fn kill(&mut self, host: usize) -> Result<()> {
        let mut daemon = self
            .host_mut(host)?
            .daemon
            .take()
            .ok_or_else(|| anyhow!("host {host} is not running"))?;
        daemon.kill()?;
        daemon.wait()?;
        Ok(())
    }

    /// Process id of a host's daemon.
    ///
    /// # Errors
    /// If it is not running.
    pub fn pid(&self, host: usize) -> Result<u32> {
        Ok(self
            .host(host)?
            .daemon
            .as_ref()
            .context("the host is not running")?
            .id())
    }

    /// A host's data folder.
    pub fn data(&self, host: usize) -> PathBuf {
        self.folder.join(format!("host{host}"))
    }

    /// What a host's daemon wrote to its log so far (its last 40 lines).
    pub fn log(&self, host: usize) -> String {
        let Ok(file) = std::fs::File::open(self.folder.join(format!("{host}.log"))) else {
            return String::new();
        };
        let lines: Vec<String> = BufReader::new(file).lines().map_while(Result::ok).collect();
        lines
            .iter()
            .skip(lines.len().saturating_sub(40))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    /// Names of the ends of a host's cables.
    pub fn cable_names(&self, host: usize) -> Vec<String> {
        let ends = self.cables.iter().filter_map(|(a, b)| match host {
            near if near == *a => Some(b),
            near if near == *b => Some(a),
            _ => None,
        });
        ends.map(|other| format!("to{other}")).collect()
    }

    /// Bytes that each of a host's cables carried away from it, with Ethernet headers.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn bytes_by_cable(&self, host: usize) -> Result<BTreeMap<String, u64>> {
        let output =
            in_namespace(&self.host(host)?.namespace, &["cat", "/proc/net/dev"]).output()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let cables = text
            .lines()
            .filter_map(|line| line.trim().split_once(':'))
            .filter(|(name, _)| name.starts_with("to"));
        let sent = cables.filter_map(|(name, numbers)| {
            Some((
                name.to_owned(),
                numbers.split_whitespace().nth(8)?.parse::<u64>().ok()?,
            ))
        });
        Ok(sent.collect())
    }

    /// Bytes that all of a host's cables carried away from it, with Ethernet headers.
    ///
    /// # Errors
    /// If the system does not tell.
    pub fn bytes_sent(&self, host: usize) -> Result<u64> {
        Ok(self.bytes_by_cable(host)?.values().sum())
    }

    fn host(&self, host: usize) -> Result<&Host> {
        self.hosts
            .get(host)
            .ok_or_else(|| anyhow!("no host {host}"))
    }

    fn host_mut(&mut self, host: usize) -> Result<&mut Host> {
        self.hosts
            .get_mut(host)
            .ok_or_else(|| anyhow!("no host {host}"))
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for host in &mut self.hosts {
            if let Some(mut daemon) = host.daemon.take() {
                let _ = daemon.kill();
                let _ = daemon.wait();
            }
            let _ = ip(&["netns", "del", &host.namespace]);
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Memory that a process holds, in KiB.
///
/// # Errors
/// If there is no such process.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .context("no VmRSS")?;
    line.split_whitespace()
        .next()
        .context("no number")?
        .parse()
        .context("not a number")
}

fn in_namespace(namespace: &str, program: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace]).args(program);
    command
}

fn ip(arguments: &[&str]) -> Result<()> {
    succeed(Command::new("ip").args(arguments))
}

fn succeed(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
