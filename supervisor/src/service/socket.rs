//! The socket of the service manager, as sd_notify(3) describes it.
//!
//! # Contract
//! * It is named by a path, or by `@` and an abstract name.
//! * Each message has a socket of its own, so that a manager that was started anew hears the next one.
//! * Sending waits for a manager that is slow, and never holds up a thread.
//!
//! The crate `sd-notify` 0.5 knows no abstract names and sends with blocking calls.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use tokio::net::UnixDatagram as Sending;

/// Where to send.
#[derive(Debug, Clone)]
pub struct Socket(SocketAddr);

impl Socket {
    /// The socket of this name.
    ///
    /// # Errors
    /// When it is none.
    pub fn new(name: &OsStr) -> io::Result<Self> {
        let address = match name.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
            [b'/', ..] => SocketAddr::from_pathname(OsString::from(name)),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "accepted: an absolute path, or @ and an abstract name",
            )),
        };
        address.map(Self)
    }

    /// Sends lines of `NAME=value`.
    ///
    /// # Errors
    /// What the kernel says.
    pub async fn send(&self, lines: &str) -> io::Result<()> {
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&self.0)?;
        socket.set_nonblocking(true)?;
        // A datagram goes out whole or not at all.
        Sending::from_std(socket)?.send(lines.as_bytes()).await.map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(from: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let bytes = from.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..bytes]).into_owned()
    }

    #[tokio::test]
    async fn paths_and_abstract_names_are_reached() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let bound = UnixDatagram::bind(&path).unwrap();
        Socket::new(path.as_os_str()).unwrap().send("A=1").await.unwrap();
        assert_eq!(received(&bound), "A=1");

        let name = format!("mcp-v8-{}", uuid::Uuid::new_v4());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let bound = UnixDatagram::bind_addr(&address).unwrap();
        let socket = Socket::new(OsStr::new(&format!("@{name}"))).unwrap();
        socket.send("B=2").await.unwrap();
        assert_eq!(received(&bound), "B=2");
    }

    #[test]
    fn another_kind_of_name_is_refused_with_those_that_are_accepted() {
        for name in ["", "run/notify", "vsock:2:1"] {
            let error = Socket::new(OsStr::new(name)).unwrap_err().to_string();
            assert!(error.starts_with("accepted:"), "{error}");
        }
    }
}
