//! UDP addresses as link addresses and back.
//!
//! ```text
//! IPv4  | 4 | port 2 | address 4 |             7 bytes
//! IPv6  | 6 | port 2 | address 16 | scope 4 |  23 bytes; the scope is the interface's index on this machine
//! ```

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

use smartmesh_types::LinkAddr;

/// The link address of a UDP end point.
pub fn link_addr(address: SocketAddr) -> LinkAddr {
    let mut bytes = Vec::with_capacity(LinkAddr::BYTES_MAX);
    match address {
        SocketAddr::V4(v4) => {
            bytes.push(4);
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            bytes.push(6);
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_be_bytes());
        }
    }
    LinkAddr::new(&bytes).expect("at most 23 bytes: 1 + 2 + 16 + 4")
}

/// The UDP end point of a link address, or `None` if another kind of radio made it.
pub fn socket_addr(address: &LinkAddr) -> Option<SocketAddr> {
    let (family, rest) = address.as_bytes().split_first()?;
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let port = u16::from_be_bytes(*port);
    match family {
        4 => {
            let ip: [u8; 4] = rest.try_into().ok()?;
            Some(SocketAddrV4::new(Ipv4Addr::from(ip), port).into())
        }
        6 => {
            let (ip, scope) = rest.split_first_chunk::<16>()?;
            let scope: [u8; 4] = scope.try_into().ok()?;
            Some(SocketAddrV6::new(Ipv6Addr::from(*ip), port, 0, u32::from_be_bytes(scope)).into())
        }
        _ => None,
    }
}

/// The address without an IPv4-in-IPv6 form (RFC 4291 §2.5.5.2), so that one peer has one link address.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V4(_) => address,
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::from((v4, v6.port())),
            None => SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn udp_addresses_survive_the_round_trip() {
        for text in ["127.0.0.1:80", "[fe80::1%7]:65535", "[::1]:1"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(socket_addr(&link_addr(address)), Some(address));
        }
    }

    #[test]
    fn foreign_link_addresses_are_no_udp_addresses() {
        for bytes in [&[][..], &[4, 0], &[4, 0, 1, 2, 3], &[6; 22], &[9; 7]] {
            assert_eq!(socket_addr(&LinkAddr::new(bytes).unwrap()), None);
        }
    }

    #[test]
    fn a_mapped_address_is_its_ipv4_address() {
        let mapped: SocketAddr = "[::ffff:10.0.0.1]:9".parse().unwrap();
        assert_eq!(canonical(mapped), "10.0.0.1:9".parse().unwrap());
    }
}
