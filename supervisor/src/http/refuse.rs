//! A port that closes without losing a connection.
//!
//! # Contract
//! * Closing a port resets whoever has connected and was not accepted yet: to a proxy that is a request
//!   which may have been carried out, and which it does not send again. So the port first takes no more
//!   beginnings of connections, then those that have begun, and then it is closed.
//! * Whoever begins meanwhile hears nothing, asks again, and is refused once the port is closed: proxies
//!   then go to another server.
//! * Nobody else has the port: what is said of it here holds for every copy of its descriptor.
//! * Where the kernel takes no filter, a connection may be lost in the moment of closing.

use std::io;
use std::net::{SocketAddr, TcpListener as Waiting};
use std::os::fd::AsRawFd;

use tokio::net::{TcpListener, TcpStream};

use crate::limits::{CONNECTIONS_WAITING_MAX, HANDSHAKE_MAX};

/// Where the flags are in the head of TCP, and two of them.
const FLAGS_AT: u32 = 13;
const SYN: u32 = 0x02;
const ACK: u32 = 0x10;

/// Closes a port; `take` is given whoever has connected by then.
pub async fn close(listener: TcpListener, mut take: impl FnMut(TcpStream, SocketAddr)) {
    // What tokio knows of the queue may be older than what is in it.
    let Ok(listener) = listener.into_std() else { return };
    match take_no_beginnings(&listener) {
        Ok(()) => tokio::time::sleep(HANDSHAKE_MAX).await,
        Err(error) => tracing::debug!(%error, "connections may be lost when the port is closed"),
    }
    // Where there is no filter somebody may go on beginning.
    for _ in 0..=CONNECTIONS_WAITING_MAX {
        match accept(&listener) {
            Ok((stream, from)) => take(stream, from),
            // One that was gone before we took it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if error.kind() != io::ErrorKind::WouldBlock {
                    tracing::warn!(%error, "accept failed");
                }
                return;
            }
        }
    }
}

fn accept(listener: &Waiting) -> io::Result<(TcpStream, SocketAddr)> {
    let (stream, from) = listener.accept()?;
    stream.set_nonblocking(true)?;
    Ok((TcpStream::from_std(stream)?, from))
}

/// Has the kernel drop every packet that begins a connection (socket(7), `SO_ATTACH_FILTER`).
fn take_no_beginnings(listener: &Waiting) -> io::Result<()> {
    let step =
        |code: u32, jt: u8, jf: u8, k: u32| libc::sock_filter { code: code as u16, jt, jf, k };
    // The filter sees packets from the head of TCP on.
    let mut steps = [
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, FLAGS_AT),
        step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, SYN | ACK),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, SYN),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ];
    let program = libc::sock_fprog { len: steps.len() as u16, filter: steps.as_mut_ptr() };
    // SAFETY: the kernel copies `len` steps from where `filter` points; both outlive the call, and the
    // length given is that of the program.
    let done = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const program).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Duration;

    use super::*;
    use crate::http::serve::listen;

    #[tokio::test]
    async fn who_has_connected_is_taken_and_who_begins_later_is_refused_but_never_reset() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let before = TcpStream::connect(address).await.unwrap();
        let taken = Mutex::new(Vec::new());
        let closing = close(listener, |stream, from| taken.lock().unwrap().push((stream, from)));
        let later = async {
            tokio::time::sleep(HANDSHAKE_MAX / 4).await;
            TcpStream::connect(address).await
        };
        let ((), later) = tokio::join!(closing, later);
        let from: Vec<SocketAddr> = taken.lock().unwrap().iter().map(|(_, from)| *from).collect();
        assert_eq!(from, [before.local_addr().unwrap()]);
        // It asked again.
        assert_eq!(later.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    /// As many as possible at the very moment: each is either taken or refused.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_is_lost_in_the_moment_of_closing() {
        for _ in 0..10 {
            // Nobody finds its queue full: whoever does may be lost at any time.
            let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
            let address = listener.local_addr().unwrap();
            let clients = (0..4).map(|_| {
                tokio::spawn(async move {
                    let mut connected = Vec::new();
                    // Ends with the port; one that waits for an answer does not matter here.
                    while let Ok(Ok(stream)) =
                        tokio::time::timeout(HANDSHAKE_MAX * 2, TcpStream::connect(address)).await
                    {
                        // Once the port is free it may be given to a client, which then reaches itself.
                        if stream.local_addr().unwrap() != address {
                            connected.push(stream);
                        }
                    }
                    connected
                })
            });
            let clients: Vec<_> = clients.collect();
            let mut taken = 0;
            let until = tokio::time::Instant::now() + Duration::from_millis(5);
            while let Ok(Ok((stream, _))) = tokio::time::timeout_at(until, listener.accept()).await
            {
                taken += 1;
                drop(stream);
            }
            close(listener, |_, _| taken += 1).await;
            let mut connected = 0;
            for client in clients {
                connected += client.await.unwrap().len();
            }
            assert_eq!(taken, connected);
        }
    }
}
