//! Real daemons in network namespaces: the stories of a village, with cables that are cut and batteries that die.
//!
//! Where namespaces cannot be made (no root), each test says so and counts as skipped, not as passed in silence.
#![expect(
    clippy::cast_possible_truncation,
    reason = "fills a file with any bytes"
)]

use std::io::Write;
use std::net::UdpSocket;

use anyhow::{Context, Result};
use smartmesh_tests::lab::{Cut, Lab, can_make_namespaces};
use smartmesh_tests::wait;

/// Whether to go on; otherwise says why not.
fn root(test: &str) -> bool {
    let able = can_make_namespaces();
    if !able {
        let _ = writeln!(
            std::io::stderr(),
            "skipped {test}: network namespaces need root"
        );
    }
    able
}

/// Waits until a host's daemon can ping another.
fn reach(lab: &Lab, from: usize, to: usize) -> Result<()> {
    let address = lab.address(to)?.to_owned();
    wait::until("a ping to get through", || {
        let output = lab.client(from, &["ping", &address]).ok()?.output().ok()?;
        String::from_utf8_lossy(&output.stdout)
            .contains("rtt_us")
            .then_some(())
    });
    Ok(())
}

/// Texts in a host's inbox, in order.
fn inbox(lab: &Lab, host: usize) -> Result<Vec<String>> {
    let messages = lab.ask(host, &["inbox"])?;
    let list = messages
        .as_array()
        .or_else(|| messages.get("messages")?.as_array())
        .context("no list of messages")?;
    Ok(list
        .iter()
        .filter_map(|message| message.get("text")?.as_str().map(str::to_owned))
        .collect())
}

fn wait_for_text(lab: &Lab, host: usize, text: &str) -> Result<()> {
    wait::until(&format!("`{text}` on host {host}"), || {
        inbox(lab, host)
            .ok()?
            .iter()
            .any(|received| received == text)
            .then_some(())
    });
    let copies = inbox(lab, host)?
        .iter()
        .filter(|received| *received == text)
        .count();
    assert_eq!(copies, 1, "`{text}` was shown {copies} times");
    Ok(())
}

#[test]
fn a_line_of_eight_talks_from_end_to_end_and_shares_a_file() -> Result<()> {
    if !root("a line of eight") {
        return Ok(());
    }
    let mut lab = Lab::line(8)?;
    lab.start_all()?;
    reach(&lab, 0, 7)?;
    lab.befriend(0, 7)?;
    lab.ask(0, &["send", "host7", "over seven hops", "--wait", "30"])?;
    wait_for_text(&lab, 7, "over seven hops")?;
    let file = lab.data(0).join("photo.bin");
    let bytes: Vec<u8> = (0..300_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(&file, &bytes)?;
    lab.ask(0, &["share", &file.to_string_lossy(), "--to", "host7"])?;
    let target = lab.data(7).join("got.bin");
    wait::until("the file at the other end", || {
        let output = lab
            .client(7, &["get", "photo.bin", "--out", &target.to_string_lossy()])
            .ok()?
            .output()
            .ok()?;
        (output.status.success() && std::fs::read(&target).ok()? == bytes).then_some(())
    });
    // Any program: the kernel's own ping through the TUN interface.
    let address = lab.address(7)?.to_owned();
    wait::until("ping through the TUN interface", || {
        let output = lab
            .command(0, "ping")
            .ok()?
            .args(["-6", "-c", "3", "-i", "0.1", "-W", "2", &address])
            .output()
            .ok()?;
        output.status.success().then_some(())
    });
    Ok(())
}

#[test]
fn a_ring_heals_after_silent_and_visible_cuts() -> Result<()> {
    if !root("a ring heals") {
        return Ok(());
    }
    let mut lab = Lab::ring(8)?;
    lab.start_all()?;
    reach(&lab, 0, 3)?;
    for how in [Cut::Silent, Cut::Visible] {
        lab.cut(1, 2, how)?;
        reach(&lab, 0, 3)?;
        reach(&lab, 1, 2)?;
        lab.mend(1, 2, how)?;
        reach(&lab, 1, 2)?;
    }
    Ok(())
}

#[test]
fn what_was_acknowledged_survives_kill_and_restart() -> Result<()> {
    if !root("kill and restart") {
        return Ok(());
    }
    let mut lab = Lab::line(3)?;
    lab.start_all()?;
    reach(&lab, 0, 2)?;
    lab.befriend(0, 2)?;
    lab.kill(2)?;
    for number in 0..5 {
        lab.ask(0, &["send", "host2", &format!("note {number}")])?;
    }
    // The sender dies right after it said that it has the messages.
    lab.kill(0)?;
    lab.start(0)?;
    lab.start(2)?;
    for number in 0..5 {
        wait_for_text(&lab, 2, &format!("note {number}"))?;
    }
    lab.kill(2)?;
    lab.start(2)?;
    assert_eq!(inbox(&lab, 2)?.len(), 5);
    Ok(())
}

#[test]
fn mail_crosses_between_partitions_with_a_walker() -> Result<()> {
    if !root("a walker") {
        return Ok(());
    }
    // Host 1 walks between host 0 and host 2, who never hear each other.
    let mut lab = Lab::line(3)?;
    lab.start_all()?;
    reach(&lab, 0, 2)?;
    lab.befriend(0, 2)?;
    lab.cut(1, 2, Cut::Visible)?;
    lab.ask(0, &["send", "host2", "carried by hand"])?;
    wait::until("a carrier", || {
        let status = lab.ask(1, &["status"]).ok()?;
        let held = status
            .pointer("/bundles/held")
            .or_else(|| status.pointer("/mail/held"))?
            .as_u64()?;
        (held > 0).then_some(())
    });
    lab.cut(0, 1, Cut::Visible)?;
    lab.mend(1, 2, Cut::Visible)?;
    wait_for_text(&lab, 2, "carried by hand")
}

/// What a client shows on a host, once it says what it should.
fn wait_for(lab: &Lab, host: usize, arguments: &[&str], shown: &str) {
    wait::until(&format!("`{shown}` on host {host}"), || {
        let value = lab.ask(host, arguments).ok()?;
        value.to_string().contains(shown).then_some(())
    });
}

#[test]
fn a_call_for_help_reaches_everybody_and_the_safe_list_joins_two_partitions() -> Result<()> {
    if !root("a call for help") {
        return Ok(());
    }
    let mut lab = Lab::line(5)?;
    lab.start_all()?;
    reach(&lab, 0, 4)?;
    lab.ask(
        0,
        &[
            "sos",
            "under the bridge",
            "--need",
            "injured",
            "--lat",
            "-1.25",
            "--lon",
            "36.5",
        ],
    )?;
    for host in 1..5 {
        wait_for(&lab, host, &["sos", "list"], "under the bridge");
    }
    let caller = lab.address(0)?.to_owned();
    lab.ask(4, &["sos", "claim", &caller, "with a boat"])?;
    wait_for(&lab, 0, &["sos", "list"], "with a boat");
    lab.cut(2, 3, Cut::Visible)?;
    lab.ask(0, &["safe", "Amina", "--condition", "missing"])?;
    lab.ask(4, &["safe", "AMINA", "--note", "at the school"])?;
    lab.ask(0, &["sos", "cancel", "thanks"])?;
    // Who dies meanwhile forgets nothing.
    lab.kill(3)?;
    lab.start(3)?;
    lab.ready(3)?;
    lab.mend(2, 3, Cut::Visible)?;
    for host in 0..5 {
        wait_for(&lab, host, &["safe", "find", "amina"], "at the school");
        wait_for(&lab, host, &["safe", "find", "amina"], "missing");
        wait_for(&lab, host, &["sos", "list"], "\"over\":true");
    }
    Ok(())
}

#[test]
fn a_photo_is_carried_between_partitions_with_a_walker() -> Result<()> {
    if !root("a carried photo") {
        return Ok(());
    }
    // Host 1 walks between host 0 and host 2, who never hear each other.
    let mut lab = Lab::line(3)?;
    lab.start_all()?;
    reach(&lab, 0, 2)?;
    lab.befriend(0, 2)?;
    lab.cut(1, 2, Cut::Visible)?;
    let photo = lab.data(0).join("photo.bin");
    let bytes: Vec<u8> = (0..200_u32 * 1_024)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    std::fs::write(&photo, &bytes)?;
    lab.ask(0, &["share", &photo.to_string_lossy(), "--to", "host2"])?;
    // The offer and four parts of the photo.
    wait::until("a carrier of all parts", || {
        let status = lab.ask(1, &["status"]).ok()?;
        let held = status
            .pointer("/bundles/held")
            .or_else(|| status.pointer("/mail/held"))?;
        (held.as_u64()? >= 5).then_some(())
    });
    lab.cut(0, 1, Cut::Visible)?;
    lab.kill(0)?;
    lab.mend(1, 2, Cut::Visible)?;
    let here = || {
        let files = lab.ask(2, &["get"]).ok()?;
        let file = files.as_array()?.first()?.clone();
        let text = file.to_string();
        text.contains("complete").then_some(())
    };
    wait::until("the photo to be there by itself", here);
    let target = lab.data(2).join("got.bin");
    lab.ask(2, &["get", "photo.bin", "--out", &target.to_string_lossy()])?;
    assert!(std::fs::read(&target)? == bytes, "the same bytes");
    Ok(())
}

#[test]
fn garbage_is_counted_and_hurts_nobody() -> Result<()> {
    if !root("garbage") {
        return Ok(());
    }
    let mut lab = Lab::line(3)?;
    lab.start_all()?;
    reach(&lab, 0, 2)?;
    // Random bytes from host 0's own namespace at host 1's port, as a hostile program on the link would send them.
    let script = "import os,socket\ns=socket.socket(socket.AF_INET6,socket.SOCK_DGRAM)\n\
                  i=socket.if_nametoindex('to1')\n\
                  [s.sendto(os.urandom(n%1400+1),('ff02::1',21325,0,i)) for n in range(3000)]";
    let _ = lab.command(0, "python3")?.args(["-c", script]).output()?;
    let _ = UdpSocket::bind("127.0.0.1:0")?;
    reach(&lab, 0, 2)?;
    reach(&lab, 1, 2)?;
    Ok(())
}

#[test]
fn a_second_node_on_the_same_folder_is_told_what_to_do() -> Result<()> {
    if !root("a second node") {
        return Ok(());
    }
    let mut lab = Lab::new(1)?;
    lab.start(0)?;
    let output = lab.client(0, &["up"])?.output()?;
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        text.contains("smartmesh down") || text.contains("already"),
        "{text}"
    );
    Ok(())
}
