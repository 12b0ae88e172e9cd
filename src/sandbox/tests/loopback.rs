//! Programs that talk with a server of ours on their own loopback device.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};

use super::{host_has, nothing, spec, text};
use crate::domain::event::ExitKind;
use crate::kernel::{IsolationSupport, isolation_support};
use crate::sandbox::run::run_with;
use crate::sandbox::*;

/// Nothing here takes so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// Says what it is told to and prints the answer.
const CLIENT: &str = "import socket, sys
peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])), 20)
peer.sendall(sys.argv[2].encode()); peer.shutdown(socket.SHUT_WR)
answer = b''
while part := peer.recv(99): answer += part
print(answer.decode())
";

/// A Python program with a server on that port, which has to be accepted from what comes.
fn with_server(dir: &Path, port: u16, program: &str) -> (SandboxSpec, Receiver<TcpListener>) {
    let argument = port.to_string();
    let mut spec = spec(dir, &["python3", "-c", program, &argument, "hello"]);
    let (listener, comes) = bounded(1);
    spec.loopback = Some(Loopback { port, listener });
    (spec, comes)
}

fn accept(listener: &TcpListener) -> TcpStream {
    let stream = listener.accept().unwrap().0;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Reads to the end, then answers.
fn answer(mut stream: TcpStream, with: &str) -> String {
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    stream.write_all(with.as_bytes()).unwrap();
    said
}

#[test]
fn a_program_talks_with_a_server_of_ours_on_any_port_and_with_nobody_else() {
    if !host_has("network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = format!(
        "{CLIENT}
try: socket.create_connection(('1.1.1.1', 53), 5); print('reached')
except OSError: print('refused')"
    );
    for port in [5432, 80] {
        let (spec, comes) = with_server(dir.path(), port, &program);
        let server = thread::spawn(move || {
            let listener = comes.recv_timeout(PATIENCE).unwrap();
            answer(accept(&listener), "hello yourself")
        });
        let out = run_sandboxed(&spec).unwrap();
        assert_eq!(out.exit, ExitKind::Code(0), "{}", text(&out.stderr));
        assert_eq!(text(&out.stdout), "hello yourself\nrefused\n");
        assert_eq!(server.join().unwrap(), "hello");
        let said = out.isolation.lines.join("\n");
        assert!(
            said.contains(&format!("port {port} of which leads to us")),
            "{said}"
        );
    }
    // Without a server it is as it was.
    let (mut spec, _comes) = with_server(dir.path(), 5432, CLIENT);
    spec.loopback = None;
    let out = run_sandboxed(&spec).unwrap();
    assert!(text(&out.stderr).contains("ConnectionRefusedError"));
    let said = out.isolation.lines.join("\n");
    assert!(said.contains("a loopback device only; "), "{said}");
}

#[test]
fn two_programs_on_one_port_do_not_meet() {
    if !host_has("network") {
        return;
    }
    let both = Barrier::new(2);
    thread::scope(|scope| {
        for name in ["one", "two"] {
            let both = &both;
            scope.spawn(move || {
                let dir = tempfile::tempdir().unwrap();
                let (mut spec, comes) = with_server(dir.path(), 5432, CLIENT);
                *spec.argv.last_mut().unwrap() = format!("from {name}");
                let server = thread::spawn(move || comes.recv_timeout(PATIENCE).unwrap());
                let out = thread::scope(|scope| {
                    let run = scope.spawn(|| run_sandboxed(&spec).unwrap());
                    let listener = server.join().unwrap();
                    let stream = accept(&listener);
                    // Both are connected now, and nobody else is.
                    both.wait();
                    assert_eq!(
                        answer(stream, &format!("to {name}")),
                        format!("from {name}")
                    );
                    let out = run.join().unwrap();
                    listener.set_nonblocking(true).unwrap();
                    let more = listener.accept().unwrap_err();
                    assert_eq!(more.kind(), ErrorKind::WouldBlock);
                    out
                });
                assert_eq!(text(&out.stdout), format!("to {name}\n"));
            });
        }
    });
}

#[test]
fn the_hosts_own_port_of_that_number_gets_nothing() {
    if !host_has("network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let hosts = TcpListener::bind("127.0.0.1:0").unwrap();
    hosts.set_nonblocking(true).unwrap();
    let address = hosts.local_addr().unwrap();
    let (spec, comes) = with_server(dir.path(), address.port(), CLIENT);
    let server = thread::spawn(move || {
        let listener = comes.recv_timeout(PATIENCE).unwrap();
        answer(accept(&listener), "ours")
    });
    let out = run_sandboxed(&spec).unwrap();
    assert_eq!(text(&out.stdout), "ours\n", "{}", text(&out.stderr));
    assert_eq!(server.join().unwrap(), "hello");
    assert_eq!(hosts.accept().unwrap_err().kind(), ErrorKind::WouldBlock);
    // It would have.
    let _client = TcpStream::connect(address).unwrap();
    hosts.set_nonblocking(false).unwrap();
    assert!(hosts.accept().is_ok());
}

#[test]
fn without_a_network_of_its_own_nothing_is_run() {
    let dir = tempfile::tempdir().unwrap();
    let program = "open('ran', 'w')";
    let refused = |spec: &SandboxSpec, support: &IsolationSupport| {
        let error = run_with(spec, support).unwrap_err().to_string();
        assert!(!dir.path().join("ran").exists(), "{error}");
        error
    };
    let (mut spec, comes) = with_server(dir.path(), 5432, program);
    let error = refused(&spec, &nothing());
    assert!(
        error.contains("this host cannot isolate the network"),
        "{error}"
    );
    spec.network = true;
    let error = refused(&spec, isolation_support());
    assert!(error.contains("a network of its own"), "{error}");
    assert!(comes.try_recv().is_err());
    if host_has("network") {
        spec.network = false;
        let (no_room, _comes) = bounded(0);
        spec.loopback.as_mut().unwrap().listener = no_room;
        let error = refused(&spec, isolation_support());
        assert!(error.contains("no room"), "{error}");
    }
}

#[test]
fn the_program_holds_no_descriptor_of_ours() {
    if !host_has("network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = "import os
def is_open(fd):
    try: os.fstat(fd); return True
    except OSError: return False
print([fd for fd in range(4096) if is_open(fd)])";
    let (spec, comes) = with_server(dir.path(), 5432, program);
    let out = run_sandboxed(&spec).unwrap();
    assert_eq!(text(&out.stdout), "[0, 1, 2, 3]\n", "{}", text(&out.stderr));
    assert!(comes.try_recv().is_ok());
}

#[test]
fn the_connections_of_a_program_end_with_its_time() {
    if !host_has("network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let program = "import socket, sys, time
peer = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
peer.sendall(b'here'); time.sleep(600)";
    let (mut spec, comes) = with_server(dir.path(), 5432, program);
    spec.timeout_ms = 3000;
    let server = thread::spawn(move || {
        let listener = comes.recv_timeout(PATIENCE).unwrap();
        let mut stream = accept(&listener);
        let mut said = Vec::new();
        let end = stream.read_to_end(&mut said).map_err(|error| error.kind());
        (said, end)
    });
    let out = run_sandboxed(&spec).unwrap();
    assert!(out.timed_out);
    let (said, end) = server.join().unwrap();
    assert_eq!(said, b"here");
    assert!(
        matches!(end, Ok(_) | Err(ErrorKind::ConnectionReset)),
        "{end:?}"
    );
}

#[test]
fn a_socket_that_we_close_or_never_take_is_held_by_nobody() {
    if !host_has("network") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // Until it is closed, connections are made, and reset then.
    let program = "import socket, sys, time
while True:
    try: socket.create_connection(('127.0.0.1', int(sys.argv[1]))).close()
    except ConnectionRefusedError: print('nobody'); break
    except ConnectionResetError: pass
    time.sleep(0.01)";
    for is_taken in [true, false] {
        let (spec, comes) = with_server(dir.path(), 5432, program);
        let server = is_taken
            .then(|| thread::spawn(move || drop(accept(&comes.recv_timeout(PATIENCE).unwrap()))));
        let out = run_sandboxed(&spec).unwrap();
        assert_eq!(text(&out.stdout), "nobody\n", "{}", text(&out.stderr));
        assert!(server.is_none_or(|server| server.join().is_ok()));
    }
}
