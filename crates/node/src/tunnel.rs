//! IP packets between the TUN interface and flows.

use smartmesh_mesh::flow::PayloadKind;
use smartmesh_types::{Address, Now};

use crate::{Node, Output};

/// Bytes of an IPv6 header (RFC 8200 §3).
const HEADER_BYTES: usize = 40;

impl Node {
    /// A local program sends a packet. What is not from this node to another node of the mesh is dropped: the kernel's
    /// router solicitations and multicast end up here, too.
    pub(crate) fn handle_tunnel(&mut self, packet: &[u8], now: Now) {
        let Some((source, destination)) = addresses(packet) else {
            return;
        };
        if source != self.identity.address() || destination == source {
            return;
        }
        let flow = match self.people.flow_to(destination) {
            Some(flow) => flow,
            None => {
                let flow = self.mesh.open_flow(destination, now);
                self.people.opening(flow, destination);
                flow
            }
        };
        self.mesh.send(flow, PayloadKind::Ip, packet, now);
    }

    /// A packet came for the local programs. Its source must be the node at the other end of the flow.
    pub(crate) fn handle_ip(&mut self, peer: Address, packet: Vec<u8>) {
        if addresses(&packet) == Some((peer, self.identity.address())) {
            self.outputs.push_back(Output::Tunnel(packet));
        }
    }
}

/// Source and destination of an IPv6 packet between two nodes of the mesh.
fn addresses(packet: &[u8]) -> Option<(Address, Address)> {
    if packet.len() < HEADER_BYTES || packet.first().map(|first| first >> 4) != Some(6) {
        return None;
    }
    let source = packet.get(8..24)?.first_chunk().copied()?;
    let destination = packet.get(24..40)?.first_chunk().copied()?;
    Some((
        Address::from_octets(source)?,
        Address::from_octets(destination)?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ipv6_between_nodes_counts() {
        let (a, b) = (
            Address::from_key_hash([1; 13]),
            Address::from_key_hash([2; 13]),
        );
        let mut packet = vec![0x60; HEADER_BYTES];
        packet[8..24].copy_from_slice(&a.octets());
        packet[24..40].copy_from_slice(&b.octets());
        assert_eq!(addresses(&packet), Some((a, b)));
        packet[24] = 0xff;
        assert_eq!(addresses(&packet), None);
        assert_eq!(addresses(&packet[..39]), None);
        packet[0] = 0x45;
        assert_eq!(addresses(&packet), None);
    }
}
