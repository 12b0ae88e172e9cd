//! The program that the services of the schedules run: this test program itself, started for one "test".

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

/// One start of a service, as its plan has it: `SLOW_MS/LIFE_MS/EXIT_CODE` for each start, the last for all later ones.
#[test]
#[ignore = "a program that the schedules start"]
fn run() {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let name = variable("SCHEDULE_SERVICE");
    if name.is_empty() {
        return;
    }
    let place = PathBuf::from(variable("SCHEDULE_IN"));
    let append = |file: &str, line: String| {
        let file = File::options()
            .create(true)
            .append(true)
            .open(place.join(file));
        let _ = file.and_then(|mut file| file.write_all(line.as_bytes()));
    };
    // Held until this process is gone, however it goes.
    let lock = File::create(place.join(format!("{name}.lock"))).expect("a lock file");
    if lock.try_lock().is_err() {
        append(
            "twice",
            format!("{name} as process {}\n", std::process::id()),
        );
    }
    let runs = format!("{name}.runs");
    let before = std::fs::read_to_string(place.join(&runs)).unwrap_or_default();
    append(
        &runs,
        format!(
            "{} {}\n",
            std::process::id(),
            super::truth::start_of(std::process::id()).unwrap_or(0)
        ),
    );
    let plan = variable("SCHEDULE_PLAN");
    let plan: Vec<&str> = plan.split(';').collect();
    let plan = plan[before.lines().count().min(plan.len() - 1)];
    let plan: Vec<u64> = plan
        .split('/')
        .map(|number| number.parse().expect("a number"))
        .collect();
    std::thread::sleep(Duration::from_millis(plan[0]));
    let address = variable("SCHEDULE_ADDRESS");
    if !address.is_empty() {
        let listener = TcpListener::bind(&address).expect("a free address");
        std::thread::spawn(move || answer(&listener));
    }
    std::thread::sleep(Duration::from_millis(plan[1]));
    drop(lock);
    std::process::exit(i32::try_from(plan[2]).unwrap_or(1));
}

/// With the process's id.
fn answer(listener: &TcpListener) {
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        let _ = stream.read(&mut [0; 4096]);
        let id = std::process::id().to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{id}",
            id.len()
        );
        let _ = stream.write_all(head.as_bytes());
    }
}
