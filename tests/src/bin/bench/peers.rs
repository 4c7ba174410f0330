//! The peers that can be had here: Debian's babeld and yggdrasil, on the same cables.

use std::process::Stdio;

use anyhow::{Context, Result};
use smartmesh_tests::lab::{Cut, Lab};
use smartmesh_tests::wait;

use crate::probe::{Guard, answers, longest_gap, monotonic_us, start_echo, start_probe};

#[expect(clippy::print_stdout, reason = "prints the figures")]
pub(crate) fn run() -> Result<()> {
    for (name, start) in [
        ("babeld", start_babeld as Start),
        ("yggdrasil", start_yggdrasil as Start),
    ] {
        let lab = Lab::ring(8)?;
        let (_daemons, addresses) = start(&lab)?;
        let address = addresses.get(3).context("no address")?.clone();
        let _echo = start_echo(&lab, 3)?;
        wait::until("the peer's network", || {
            let seen = answers(start_probe(&lab, 0, &address, 5_000, 300).ok()?).ok()?;
            (seen.len() > 40).then_some(())
        });
        let probe = start_probe(&lab, 0, &address, 5_000, 45_000)?;
        std::thread::park_timeout(std::time::Duration::from_secs(2));
        let at = monotonic_us()?;
        for (a, b) in [(0, 1), (1, 2), (2, 3)] {
            // One of these carries the flow, unless the peer's tree goes the other way; then the gap is short and says so.
            if (a, b) == (1, 2) {
                lab.cut(a, b, Cut::Silent)?;
            }
        }
        let gap = longest_gap(&answers(probe)?, at) / 1_000;
        println!("{name}: ring of 8, silent cut of link 1-2: gap {gap} ms");
    }
    Ok(())
}

type Start = fn(&Lab) -> Result<(Vec<Guard>, Vec<String>)>;

/// Gives each host an address and lets babeld route between them.
fn start_babeld(lab: &Lab) -> Result<(Vec<Guard>, Vec<String>)> {
    let mut daemons = Vec::new();
    let mut addresses = Vec::new();
    for host in 0..lab.len() {
        let address = format!("fdba::{}", host.saturating_add(1));
        let mut add = lab.command(host, "ip")?;
        add.args(["addr", "add", &format!("{address}/128"), "dev", "lo"])
            .status()?;
        lab.command(host, "sh")?
            .args(["-c", "echo 1 > /proc/sys/net/ipv6/conf/all/forwarding"])
            .status()?;
        let mut babeld = lab.command(host, "babeld")?;
        babeld.args([
            "-I",
            "",
            "-S",
            "",
            "-C",
            "redistribute local ip fdba::/16",
            "-C",
            "redistribute local deny",
        ]);
        babeld.args(lab.cable_names(host));
        daemons.push(Guard(
            babeld
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        ));
        addresses.push(address);
    }
    Ok((daemons, addresses))
}

/// Starts yggdrasil on each host with a 1,280-byte MTU; it finds its neighbours by multicast.
pub(crate) fn start_yggdrasil(lab: &Lab) -> Result<(Vec<Guard>, Vec<String>)> {
    let mut daemons = Vec::new();
    for host in 0..lab.len() {
        let folder = lab.data(host);
        std::fs::create_dir_all(&folder)?;
        let config = folder.join("yggdrasil.conf");
        let socket = folder.join("yggdrasil.sock");
        let text = format!(
            "{{ \"IfMTU\": 1280, \"IfName\": \"ygg0\", \"AdminListen\": \"unix://{}\", \
             \"MulticastInterfaces\": [{{\"Regex\": \"to.*\", \"Beacon\": true, \"Listen\": true}}] }}",
            socket.display()
        );
        std::fs::write(&config, text)?;
        let mut daemon = lab.command(host, "yggdrasil")?;
        daemon.arg("-useconffile").arg(&config);
        daemons.push(Guard(
            daemon
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()?,
        ));
    }
    let addresses = (0..lab.len())
        .map(|host| yggdrasil_address(lab, host))
        .collect();
    Ok((daemons, addresses))
}

fn yggdrasil_address(lab: &Lab, host: usize) -> String {
    wait::until("yggdrasil's interface", || {
        let output = lab
            .command(host, "ip")
            .ok()?
            .args(["-6", "-o", "addr", "show", "dev", "ygg0"])
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let mut words = text.split_whitespace();
        let address = words.find(|word| word.contains('/') && word.starts_with('2'))?;
        address.split('/').next().map(str::to_owned)
    })
}
