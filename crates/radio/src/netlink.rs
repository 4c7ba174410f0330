//! The system calls that no library offers safely: the kernel's routing socket (rtnetlink(7)) and large socket buffers.

#![expect(
    unsafe_code,
    reason = "netlink and SO_RCVBUFFORCE have no safe interface; each block is one system call"
)]

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use socket2::Socket;
use tokio::io::unix::AsyncFd;

/// Groups of events: links, IPv4 addresses, IPv6 addresses (linux/rtnetlink.h).
const GROUPS: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;

/// Opens a socket on which the kernel reports changes of links and addresses.
///
/// # Errors
/// Where the system forbids it (Android from API level 30).
pub(crate) fn open() -> io::Result<OwnedFd> {
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers are passed.
    let raw = unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call above has just made this descriptor and nobody else has it.
    let fd = unsafe { OwnedFd::from_raw_fd(raw) };
    // SAFETY: all-zero bytes are a valid sockaddr_nl.
    let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
    address.nl_family = u16::try_from(libc::AF_NETLINK).unwrap_or_default();
    address.nl_groups = u32::try_from(GROUPS).unwrap_or_default();
    let length = u32::try_from(size_of::<libc::sockaddr_nl>()).unwrap_or_default();
    // SAFETY: the pointer and the length describe the local value above.
    let bound = unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(fd)
}

/// Registers the socket with the runtime.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` gives the same open descriptor for its whole life.
    let registered = unsafe { AsyncFd::register(fd) };
    Ok(registered?)
}

/// Sends one request.
pub(crate) fn send(fd: &OwnedFd, request: &[u8]) -> io::Result<()> {
    // SAFETY: the pointer and the length describe the slice, which outlives the call.
    let sent = unsafe { libc::send(fd.as_raw_fd(), request.as_ptr().cast(), request.len(), 0) };
    if sent < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Receives one batch of messages and returns its length.
pub(crate) fn receive(fd: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the pointer and the length describe the slice, which outlives the call.
    let got = unsafe { libc::recv(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
    usize::try_from(got).map_err(|_| io::Error::last_os_error())
}

/// Asks for kernel buffers of this size, beyond the system's ordinary limit where we may; a smaller one also works.
pub(crate) fn force_buffer_bytes(socket: &Socket, bytes: usize) {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let length = u32::try_from(size_of::<libc::c_int>()).unwrap_or_default();
    let force = |option| {
        // SAFETY: the pointer and the length describe the local integer.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const value).cast(),
                length,
            )
        }
    };
    if force(libc::SO_RCVBUFFORCE) < 0 {
        let _ = socket.set_recv_buffer_size(bytes);
    }
    if force(libc::SO_SNDBUFFORCE) < 0 {
        let _ = socket.set_send_buffer_size(bytes);
    }
}
