//! What is told, to whom, and how often, through a real log, a program and a server.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::PathBuf;

use serde_json::Value;

use super::*;
use crate::domain::event::Event;
use crate::domain::ids::BootId;
use crate::log::{Log, NewEvent};
use crate::manifest::{NotifyBy, WebhookShape};

struct Place {
    dir: tempfile::TempDir,
    log: Log,
    redactor: Arc<Redactor>,
    environment: Environment,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self {
            log: Log::open(&dir.path().join("log.db")).unwrap(),
            dir,
            redactor: Arc::new(Redactor::new(vec!["hunter2-secret".to_owned()])),
            environment: Environment::default(),
        }
    }

    fn start(&self, entries: &[Notify], head: Seq) -> Notifier {
        Notifier::start(entries, &self.place(head))
    }

    fn place(&self, head: Seq) -> NotifyPlace<'_> {
        NotifyPlace {
            app: "shop",
            workspace: self.dir.path(),
            state_dir: self.dir.path(),
            log: self.log.path(),
            environment: &self.environment,
            redactor: &self.redactor,
            head,
        }
    }

    /// A service is given up; gives the log's end.
    fn give_up(&self, service: &str) -> Seq {
        let event = NewEvent {
            at: now(),
            boot: Some(BootId(uuid::Uuid::from_u128(1))),
            mission: None,
            event: Event::ServiceFailed {
                service: service.to_owned(),
                error: "<exit> with hunter2-secret".to_owned(),
            },
        };
        self.log.append(vec![event]).unwrap();
        self.log.reader().unwrap().head().unwrap()
    }

    /// Appends what it gets to a file.
    fn exec(&self, script: &str) -> Notify {
        Notify {
            on: vec![NotifyOn::GaveUp],
            by: NotifyBy::Exec(["sh", "-c", script].map(str::to_owned).to_vec()),
        }
    }

    fn told(&self) -> Vec<Value> {
        self.told_in("told")
    }

    fn told_in(&self, name: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(self.file(name)).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.collect()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn a_program_hears_of_each_cause_once_and_of_what_was_left_in_the_next_boot() {
    let place = Place::new();
    let before = place.give_up("before");
    let entry = [place.exec("[ -e up ] && cat >> told")];
    // It cannot be told in this boot.
    let mut notifier = place.start(&entry, before);
    for service in ["api", "api", "worker"] {
        notifier.tell(place.give_up(service));
    }
    notifier.finish(LAST_WITHIN);
    assert_eq!(place.told(), [Value::Null; 0]);
    // Killed there, or ended: the next one tells all of it, and what came before it was asked for not.
    std::fs::write(place.file("up"), "").unwrap();
    let head = place.give_up("db");
    place.start(&entry, head).finish(LAST_WITHIN);
    let told = place.told();
    let services: Vec<&str> = told
        .iter()
        .map(|d| d["service"].as_str().unwrap())
        .collect();
    assert_eq!(services, ["api", "worker", "db"]);
    assert_eq!(
        (&told[0]["on"], &told[0]["app"]),
        (&"gave_up".into(), &"shop".into())
    );
    let text = told[0].to_string();
    assert!(
        text.contains("service api is given up") && !text.contains("hunter2"),
        "{text}"
    );
    // Nothing twice.
    place.start(&entry, head).finish(LAST_WITHIN);
    assert_eq!(place.told().len(), 3);
    // Of something else nobody hears.
    let other = Notify {
        on: vec![NotifyOn::Healed],
        ..place.exec("cat >> told; true")
    };
    let mut notifier = place.start(&[other], head);
    notifier.tell(place.give_up("other"));
    notifier.finish(LAST_WITHIN);
    assert_eq!(place.told().len(), 3);
}

#[test]
fn who_is_told_changes_while_it_runs_and_nothing_is_lost_or_told_twice() {
    let place = Place::new();
    let same = place.exec("cat >> same");
    let wants_more = place.exec("cat >> more; sleep 0.2");
    let before = [same.clone(), wants_more.clone(), place.exec("cat >> gone")];
    let mut notifier = place.start(&before, Seq(0));
    let head = place.give_up("api");
    notifier.tell(head);
    let on = vec![NotifyOn::GaveUp, NotifyOn::Healed];
    let wants_more = Notify { on, ..wants_more };
    // One after the other tells from the same place, although the first is at work.
    let after = [place.exec("cat >> new"), wants_more, same];
    notifier.change(&after, &place.place(head));
    assert_eq!((notifier.told.len(), notifier.ending.len()), (3, 1));
    notifier.tell(place.give_up("worker"));
    notifier.finish(LAST_WITHIN);
    let services = |name: &str| -> Vec<String> {
        let told = place.told_in(name).into_iter();
        told.map(|d| d["service"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(services("same"), ["api", "worker"]);
    assert_eq!(services("more"), ["api", "worker"]);
    assert_eq!(services("new"), ["worker"]);
    assert_eq!(services("gone")[0], "api");
}

#[test]
fn the_place_is_written_with_what_is_told_and_not_for_each_event_of_which_nobody_hears() {
    let place = Place::new();
    let mut entries = [place.exec("cat >> told")];
    let kept_seq = || {
        let mut files = std::fs::read_dir(place.file("notify")).unwrap();
        let path = files.next().unwrap().unwrap().path();
        // As the next boot finds it.
        Cursor::open(&path, Seq(1_000)).unwrap().seq()
    };
    let kept = |teller: &Teller| (teller.cursor.seq(), kept_seq());
    let made = |entries: &[Notify]| {
        let place = place.place(place.log.reader().unwrap().head().unwrap());
        let planned = Planned::of(&entries[0], 0, entries, &place).unwrap();
        planned.open().unwrap()
    };
    let mut teller = made(&entries);
    let first = place.give_up("api");
    teller.tell_new(LAST_WITHIN).unwrap();
    assert_eq!((kept(&teller), place.told().len()), ((first, first), 1));
    // Counted as not told: that is kept too.
    let second = place.give_up("api");
    teller.tell_new(LAST_WITHIN).unwrap();
    assert_eq!((kept(&teller), place.told().len()), ((second, second), 1));
    entries[0].on = vec![NotifyOn::Healed];
    let mut teller = made(&entries);
    let third = place.give_up("worker");
    teller.tell_new(LAST_WITHIN).unwrap();
    assert_eq!(kept(&teller), (third, second));
    // At the end it is.
    let (wake, woken) = sync_channel(1);
    drop(wake);
    teller.run(&woken);
    assert_eq!(kept_seq(), third);
}

#[test]
fn a_webhook_is_posted_again_until_it_is_taken_and_holds_up_nobody() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        let mut asked = Vec::new();
        for status in ["500 No", "200 OK"] {
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = String::new();
            let mut bytes = [0; 4096];
            while !text.ends_with('}') {
                let n = stream.read(&mut bytes).unwrap();
                text.push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).unwrap();
            asked.push(text);
        }
        asked
    });
    let entry = Notify {
        on: vec![NotifyOn::GaveUp],
        by: NotifyBy::Webhook {
            url: format!("http://{address}/hook?key=1"),
            shape: WebhookShape::Slack,
        },
    };
    let mut notifier = place.start(&[entry], Seq(0));
    let begun = Instant::now();
    notifier.tell(place.give_up("api"));
    assert!(begun.elapsed() < Duration::from_secs(1));
    // The last try of a boot that ends does not wait for its time.
    std::thread::sleep(Duration::from_millis(200));
    notifier.finish(LAST_WITHIN);
    let asked = server.join().unwrap();
    for text in &asked {
        assert!(text.starts_with("POST /hook?key=1 HTTP/1.1\r\n"), "{text}");
        let wanted = "{\"text\":\"*shop*: service api is given up: &lt;exit&gt; with ";
        assert!(text.contains(wanted) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn a_program_that_does_not_end_is_ended() {
    let dir = tempfile::tempdir().unwrap();
    let script = "sleep 60 & echo $! > pid; wait";
    let argv = ["sh", "-c", script].map(str::to_owned).to_vec();
    let workspace = dir.path().to_owned();
    let address = Address::Program { argv, workspace };
    let begun = Instant::now();
    let error = deliver(&address, &Value::Null, Duration::from_millis(500)).unwrap_err();
    assert!(error.contains("did not end"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(5));
    // With what it started.
    let pid = std::fs::read_to_string(dir.path().join("pid")).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    let runs = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
    while runs() {
        assert!(begun.elapsed() < Duration::from_secs(5), "{pid}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
