//! SIGHUP: the client reads its file again.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;

use rustix::process::Signal;

use crate::process::{self, Process, greeted_user};
use crate::{client_in, config, free_port, start_server};

/// A service that greets with one byte and then sends everything back.
pub(crate) fn service() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                // A user who has left is not greeted.
                let _ = stream.write_all(b"!");
                let mut reader = stream.try_clone().unwrap();
                let _ = std::io::copy(&mut reader, &mut stream);
            });
        }
    });
    port
}

pub(crate) fn proxy(name: &str, local_port: u16, remote_port: u16) -> String {
    format!(
        "[[proxies]]\nname = \"{name}\"\ntype = \"tcp\"\nlocalPort = {local_port}\n\
         remotePort = {remote_port}\n"
    )
}

pub(crate) fn rewrite(directory: &Path, text: &str) {
    std::fs::write(directory.join("client.toml"), text).unwrap();
}

fn echo(user: &mut TcpStream) {
    user.write_all(b"hello").unwrap();
    let mut answer = [0; 5];
    user.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"hello");
}

#[test]
fn sighup_reloads_the_file_or_changes_nothing() {
    let (local, server) = (service(), start_server());
    let (kept, added) = (free_port(), free_port());
    let head = format!("serverAddr = \"127.0.0.1\"\nserverPort = {server}\n");
    let kept_proxy = proxy("kept", local, kept);
    let directory = config(&format!(
        "{head}{kept_proxy}{}",
        proxy("removed", local, free_port())
    ));
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(process::LIMIT)).unwrap();
    let notified = |prefix: &str| loop {
        let mut datagram = [0; 256];
        let len = manager.recv(&mut datagram).unwrap();
        if datagram[..len].starts_with(prefix.as_bytes()) {
            return;
        }
    };
    let mut client = Process::start(client_in(directory.path()).env("NOTIFY_SOCKET", &socket));
    client.wait_for("] [kept] start proxy success");
    notified("READY=1");
    let mut user = greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, kept)));

    // A mistake changes nothing.
    rewrite(
        directory.path(),
        &format!(
            "{head}{}",
            proxy("wrong", 7, added).replace("Port = 7\n", "Port = \"no\"\n")
        ),
    );
    client.signal(Signal::HUP);
    notified("RELOADING=1\nMONOTONIC_USEC=");
    notified("READY=1");
    let line = client.wait_for("not reloaded, nothing has changed: ");
    assert!(line.contains("localPort"), "{line}");
    echo(&mut user);

    // Nor does what cannot change at run time.
    rewrite(
        directory.path(),
        &format!("user = \"ada\"\n{head}{kept_proxy}"),
    );
    client.signal(Signal::HUP);
    notified("RELOADING=1\nMONOTONIC_USEC=");
    notified("READY=1");
    let line = client.wait_for("not reloaded, nothing has changed: ");
    assert!(
        line.contains(": user cannot change while the client runs"),
        "{line}"
    );
    echo(&mut user);

    let added_proxy = proxy("added", local, added);
    rewrite(
        directory.path(),
        &format!("{head}{kept_proxy}{added_proxy}"),
    );
    client.signal(Signal::HUP);
    notified("RELOADING=1\nMONOTONIC_USEC=");
    notified("READY=1");
    let line = client.wait_for("reloaded: ");
    assert!(
        line.contains("1 proxies added, 0 changed, 1 removed"),
        "{line}"
    );
    greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, added)));
    echo(&mut user);
    drop(user);
    client.signal(Signal::TERM);
    assert_eq!(client.ended().0, Some(0));
}
